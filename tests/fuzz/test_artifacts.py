"""Damaged and forged artifacts: they work or are refused in one line, whatever is wrong with them."""

from __future__ import annotations

import hashlib
import json
import random
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import penjing
from fuzz_attempts import FINE, REFUSED, SEED, Attempts
from fuzz_mutations import json_bytes, mutated_bytes, mutated_json
from penjing.artifact.manifest import NAME, verify
from penjing.cli.rewrite import rewrite_page
from penjing.pipeline.inspect import inspect_artifact
from penjing.runtimes.sampling import Style

PICTURE = Image.new("RGB", (50, 40), (200, 10, 10))
NOISE = np.random.default_rng(0).normal(0, 0.05, 16000).astype(np.float32)
TASKS = {"speech": 60, "language": 80, "picture": 30, "encoder": 80, "classifier": 80, "seedling": 15}
"""Task -> how many mutations the suite tries: opening five graphs takes longer than one."""


def use(folder: Path) -> None:
    """Open an artifact and run it once on something harmless."""
    runner = penjing.load(folder, "onnxruntime", 1, warm_up=False)
    if runner.task == "speech-seq2seq":
        runner.transcribe(NOISE, (runner.languages or [None])[0])
    elif runner.task == "causal-lm":
        "".join(runner.generate("red", Style(3)))
    elif runner.task == "encoder":
        runner.embed_texts(["red", "blue"])
    elif runner.task == "classifier":
        runner.classify([PICTURE])
    else:
        runner.embed_images([PICTURE]) if runner.task == "dual-encoder" else runner.caption(PICTURE)
        runner.embed(["a red star"])


class Forger:
    """An artifact of its own that is damaged in one file, tried, and made whole again."""

    def __init__(self, artifact: Path, folder: Path) -> None:
        self.folder = Path(shutil.copytree(artifact, folder))
        self.manifest: dict[str, Any] = json.loads((folder / NAME).read_text())
        run = [name for name in self.manifest["files"] if not name.startswith(("checkpoint", "report"))]
        self.graphs = sorted(name for name in run if name.endswith(".onnx"))
        self.named = [*self.graphs, *(name for name in run if "tokenizer" in name)]

    def damaged_manifest(self, rng: random.Random) -> bytes:
        """Mostly other settings, at times anything else."""
        if rng.random() < 0.8:
            mutated = mutated_json(self.manifest["settings"], rng)
            return json.dumps({**self.manifest, "settings": mutated}).encode()
        return json_bytes(self.manifest, rng)

    def forged_file(self, rng: random.Random) -> tuple[str, bytes]:
        """Another content of a file that runs: damaged, or that of another graph."""
        name = rng.choice(self.named)
        content = (self.folder / name).read_bytes()
        if name.endswith(".json"):
            return name, json_bytes(json.loads(content), rng)
        if rng.random() < 0.3:
            return name, (self.folder / rng.choice(self.graphs)).read_bytes()
        return name, mutated_bytes(content, rng)

    def try_one(self, rng: random.Random, label: str, attempts: Attempts) -> None:
        """Damage something, open and run it, and put it right. A forger writes the digest that fits."""
        whole = {NAME: (self.folder / NAME).read_bytes()}
        if rng.random() < 0.7:
            (self.folder / NAME).write_bytes(self.damaged_manifest(rng))
        else:
            name, content = self.forged_file(rng)
            whole[name] = (self.folder / name).read_bytes()
            (self.folder / name).write_bytes(content)
            files = {**self.manifest["files"], name: hashlib.sha256(content).hexdigest()}
            (self.folder / NAME).write_text(json.dumps({**self.manifest, "files": files}))
        attempts.run(label, lambda: use(self.folder))
        for name, content in whole.items():
            (self.folder / name).write_bytes(content)


def tried(name: str, count: int, request: pytest.FixtureRequest, attempts: Attempts) -> None:
    """So many damaged artifacts of a task, drawn by the seed."""
    forger = Forger(request.getfixturevalue(f"{name}_artifact"), request.getfixturevalue("tmp_path") / name)
    attempts.run(f"{name} whole", lambda: use(forger.folder))
    assert attempts.ends == {FINE: 1}
    for number in range(count):
        forger.try_one(random.Random(f"{SEED} {name} {number}"), f"{name}, mutation {number} of seed {SEED}", attempts)
    assert attempts.ends[REFUSED] > count // 3


@pytest.mark.parametrize("name", TASKS)
def test_damaged_artifacts(name: str, request: pytest.FixtureRequest, attempts: Attempts) -> None:
    tried(name, TASKS[name], request, attempts)
    assert set(attempts.ends) <= {FINE, REFUSED}


@pytest.mark.slow
@pytest.mark.parametrize("name", TASKS)
def test_many_more_damaged_artifacts(name: str, request: pytest.FixtureRequest, attempts: Attempts) -> None:
    tried(name, 1000, request, attempts)
    assert set(attempts.ends) <= {FINE, REFUSED}


def test_damaged_manifests_are_looked_at(encoder_artifact: Path, tmp_path: Path, attempts: Attempts) -> None:
    """`penjing inspect`, `report` and `verify` read more of a manifest than a runner does."""
    forger = Forger(encoder_artifact, tmp_path / "forged")
    path = forger.folder / NAME
    parts = [key for key, value in forger.manifest.items() if isinstance(value, (dict, list)) and key != "coverage"]
    for number in range(120):
        rng = random.Random(f"{SEED} looked at {number}")
        part = rng.choice(parts)
        path.write_text(json.dumps({**forger.manifest, part: mutated_json(forger.manifest[part], rng)}))
        look = rng.choice((lambda: inspect_artifact(forger.folder), lambda: verify(forger.folder, read(forger.folder))))
        attempts.run(f"mutation {number} of seed {SEED} in {part}", look)
    for number in range(3):
        rng = random.Random(f"{SEED} reported {number}")
        part = rng.choice(parts)
        path.write_text(json.dumps({**forger.manifest, part: mutated_json(forger.manifest[part], rng)}))
        label = f"report of mutation {number} of seed {SEED} in {part}"
        attempts.run(label, lambda: rewrite_page(forger.folder, read(forger.folder)))
    assert set(attempts.ends) <= {FINE, REFUSED}


def read(folder: Path) -> dict[str, Any]:
    """The manifest of an artifact."""
    from penjing.artifact.manifest import read_manifest

    return read_manifest(folder)
