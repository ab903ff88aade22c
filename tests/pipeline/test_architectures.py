"""Every architecture we can think of: compress it, open its checkpoint in a fresh process, get the same answers."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
import torch

import fresh_outputs
from penjing.artifact.manifest import read_manifest, verify
from penjing.pipeline import compress as pipeline
from tiny_models import TINY

Answers = Mapping[str, np.ndarray]


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Answers]]:
    """Compress all of them; what each answered while it was still in memory."""
    folder = tmp_path_factory.mktemp("architectures")
    in_memory: dict[str, Answers] = {}
    threads = torch.get_num_threads()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("penjing.pipeline.write.have", lambda name: False)  # drawing 31 pages takes a minute
        prepare, lower, probes = pipeline.prepare_source, pipeline.lower, []

        def probed(*args):
            probes.append(prepare(*args))
            return probes[-1]

        def answered(model, *args):
            in_memory[model.folder.parent.name] = fresh_outputs.answers(model, model.net, probes[-1].probes[0])
            return lower(model, *args)

        patch.setattr(pipeline, "prepare_source", probed)
        patch.setattr(pipeline, "lower", answered)
        for name, build in TINY.items():
            build(folder / name / "source")
            options = pipeline.Options(recipe="weights", formats=("checkpoint",), goals=("cosine>=0.99",), threads=1)
            pipeline.compress(str(folder / name / "source"), folder / name / "artifact", options)
    command = [sys.executable, fresh_outputs.__file__, str(folder)]
    subprocess.run(command, check=True, capture_output=True, text=True)
    torch.set_num_threads(threads)
    return folder, in_memory


def test_there_are_at_least_twenty():
    assert len(TINY) >= 20


@pytest.mark.parametrize("name", TINY)
def test_a_fresh_process_answers_alike(name, runs):
    folder, in_memory = runs
    fresh = np.load(folder / name / "fresh.npz")
    assert set(fresh.files) == set(in_memory[name])
    for key, expected in in_memory[name].items():
        assert expected.size
        assert torch.equal(torch.from_numpy(fresh[key]), torch.from_numpy(expected)), key


@pytest.mark.parametrize("name", TINY)
def test_the_artifact_is_whole_and_tells_of_every_site(name, runs):
    folder, _ = runs
    artifact = folder / name / "artifact"
    manifest = read_manifest(artifact)
    verify(artifact, manifest)
    assert manifest["published"]
    assert manifest["result"]["metrics"]["cosine"]["value"] >= 0.99
    assert sum(not row["skipped"] for row in manifest["coverage"]) >= 5
    assert all(row["skipped"] or row["method"] == "rtn" for row in manifest["coverage"])
    assert {row["tower"] for row in manifest["coverage"]} <= {tower["name"] for tower in manifest["towers"]}
