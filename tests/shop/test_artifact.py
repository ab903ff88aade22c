"""A real artifact in an environment that holds no workshop: `make test-shop` makes it and names it."""

from __future__ import annotations

import importlib.util
import json
import os
from pathlib import Path

import pytest

from penjing import evaluate, load
from penjing.cli.run import run

pytestmark = [
    pytest.mark.shop,
    pytest.mark.skipif("PENJING_SHOP_ARTIFACT" not in os.environ, reason="`make test-shop` makes the artifact"),
]


@pytest.fixture(scope="module")
def artifact() -> Path:
    return Path(os.environ["PENJING_SHOP_ARTIFACT"])


def test_there_is_no_workshop():
    assert importlib.util.find_spec("torch") is None
    assert importlib.util.find_spec("transformers") is None


@pytest.mark.parametrize("engine", ["onnxruntime", "openvino"])
def test_artifact_is_as_good_as_its_manifest_says(artifact, engine):
    said = json.loads((artifact / "penjing.json").read_text())["result"]["metrics"]["recall_at_1"]["value"]
    found = evaluate(artifact, "pictures", engine=engine)["measures"]["metrics"]["recall_at_1"]["value"]
    assert found == pytest.approx(said, abs=0.02)  # engines round int8 at other places


def test_texts_have_unit_length(artifact):
    (vector,) = load(artifact).embed_texts(["a small red circle"])
    assert float(vector @ vector) == pytest.approx(1.0, abs=1e-5)


def test_compressing_needs_the_workshop(capsys, tmp_path):
    assert run(["compress", "pictures-dual-encoder", "-o", str(tmp_path / "out")]) == 2
    assert "penjing[compress]" in capsys.readouterr().err
