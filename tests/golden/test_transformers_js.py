"""Artifacts under transformers.js in Node: a dual encoder and a language model answer what they answer in our shop."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import penjing
from penjing.artifact.manifest import read_manifest
from penjing.data.image import ImageFrontEnd
from tiny_language import save_language

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not (shutil.which("node") and shutil.which("npm")), reason="node or npm is not installed"),
]
PACKAGE = "@huggingface/transformers@4.3.1"
PROGRAM = Path(__file__).with_name("transformers_js.mjs")
INSTALLED = Path(__file__).parents[2] / "build" / "transformers-js"
TEXTS = ["a large red circle", "two small blue squares", "a green triangle above a yellow circle"]
PROMPTS = ([7], [4, 9, 30, 12], [1, 20, 33, 8, 41, 17, 25, 6, 48])
"""As ids: the toy's tokenizer is read in another way by transformers.js."""
MOST_TOKENS = 24


@pytest.fixture(scope="module")
def package() -> Path:
    """The folder transformers.js is installed in, once for all runs; without what only a graphics card would run."""
    if not (INSTALLED / "node_modules" / "@huggingface" / "transformers").is_dir():
        INSTALLED.mkdir(parents=True, exist_ok=True)
        (INSTALLED / "package.json").write_text("{}")
        subprocess.run(
            ["npm", "install", "--no-audit", "--no-fund", PACKAGE],
            cwd=INSTALLED,
            env={**os.environ, "ONNXRUNTIME_NODE_INSTALL": "skip", "ONNXRUNTIME_NODE_INSTALL_CUDA": "skip"},
            check=True,
            capture_output=True,
            timeout=600,
        )
    return INSTALLED


def in_node(package: Path, *arguments: object) -> Any:
    """What the program prints."""
    command = ["node", str(PROGRAM), str(package), *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout.splitlines()[-1])


def test_a_language_model_writes_the_same(package, tmp_path):
    penjing.compress(save_language(tmp_path / "source"), tmp_path / "small", threads=2)
    runner = penjing.load(tmp_path / "small", engine="onnxruntime")
    end = runner.settings["generation"]["eos"]
    for prompt in PROMPTS:
        wanted: list[int] = []
        while len(wanted) < MOST_TOKENS and not set(wanted[-1:]) & set(end):
            wanted.append(int(runner.logits([*prompt, *wanted])[-1].argmax()))
        assert in_node(package, "generate", tmp_path / "small", prompt, MOST_TOKENS) == wanted


def test_a_dual_encoder_embeds_the_same(package, tmp_path):
    folder = tmp_path / "small"
    penjing.compress("pictures-dual-encoder", folder, data="pictures", threads=2)
    pictures = [Image.new("RGB", (96, 64), colour) for colour in ("red", "navy")]
    front_end = ImageFrontEnd(read_manifest(folder)["settings"]["image"])
    pixels = np.stack([front_end(picture) for picture in pictures])
    inputs = tmp_path / "inputs.json"
    inputs.write_text(json.dumps({"texts": TEXTS, "pixels": pixels.ravel().tolist(), "shape": pixels.shape}))
    found = in_node(package, "embed", folder, inputs)
    runner = penjing.load(folder, engine="onnxruntime")
    for side, wanted in (("texts", runner.embed_texts(TEXTS)), ("images", runner.embed_images(pictures))):
        vectors = np.array(found[side])
        cosines = (vectors * wanted).sum(1) / np.linalg.norm(vectors, axis=1)
        assert len(cosines) == len(wanted)
        assert cosines.min() >= 0.999, (side, cosines)
