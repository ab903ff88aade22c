"""Masks from the command line: half of the weights in eight bits on disk, what the report says, what is refused."""

from __future__ import annotations

import json

import pytest
import torch
from safetensors.torch import load_file

from penjing.artifact.checkpoint import load_network
from penjing.layers.bitmap import masked_layers
from penjing.layers.masked import mask_of

RECIPE = """
version: 1
steps:
  - {method: magnitude, share: 0.5, scope: global}
  - {method: rtn}
goals: ["size_bytes<=20%", "recall_at_1>=-0.5"]
"""


@pytest.fixture(scope="module")
def masked_artifact(picture_folder, tmp_path_factory):
    """The dual encoder of our own, masked over both towers and rounded to eight bits, as a checkpoint."""
    import penjing

    root = tmp_path_factory.mktemp("masked")
    (root / "recipe.yaml").write_text(RECIPE)
    penjing.compress(
        "pictures-dual-encoder", root / "out", recipe=root / "recipe.yaml", data=picture_folder,
        formats=["checkpoint"], threads=1,
    )  # fmt: skip
    return root / "out"


def test_bytes_on_disk_are_those_of_the_report(masked_artifact):
    report = json.loads((masked_artifact / "report.json").read_text())
    rows = [row for row in report["coverage"] if row["method"] == "magnitude, rtn"]
    stored = load_file(masked_artifact / "checkpoint" / "model.safetensors")
    for row in rows:
        parts = [part for name, part in stored.items() if name.startswith(row["site"] + ".") and name[-4:] != "bias"]
        assert sum(part.numel() * part.element_size() for part in parts) == row["size_bytes"], row
    assert sum(row["size_bytes"] for row in rows) <= 0.17 * 4 * sum(row["parameters"] for row in rows)
    assert {row["tower"] for row in rows} == {"image", "text"}
    assert len({row["change"] for row in rows}) > 2  # ranked over both towers, every site loses another share
    size = (masked_artifact / "checkpoint" / "model.safetensors").stat().st_size
    assert report["result"]["size_bytes"] == size <= 0.2 * report["source"]["size_bytes"]


def test_the_report_says_that_masks_give_no_speed(masked_artifact):
    for name in ("report.json", "report.html", "penjing.json"):
        text = (masked_artifact / name).read_text()
        assert "masks save bytes in checkpoint/ and no time on a CPU" in text
        assert "has no bitmaps of masked weights" in text


def test_the_artifact_opens_again_masks_and_all(masked_artifact, picture_folder, penjing):
    net = load_network(masked_artifact / "checkpoint")
    layers = masked_layers(net)
    assert len(layers) > 40
    for layer in layers.values():
        assert bool((layer.weight[~mask_of(layer)] == 0).all())
    half = torch.cat([mask_of(layer).flatten() for layer in layers.values()])
    assert float(half.float().mean()) == pytest.approx(0.5, abs=1e-6)
    found = penjing("evaluate", masked_artifact, "--data", picture_folder, "--engine", "torch").json
    assert penjing("report", masked_artifact, as_json=False).code == 0
    assert set(found["measures"]["metrics"]) >= {"recall_at_1"}


BAD = {
    "all of it": ("{method: magnitude, share: 1}", "share: input should be less than 1"),
    "a pattern of nothing": ('{method: wanda, pattern: "0:4"}', "'0:4' is not n:m"),
    "a width that no pattern divides": (
        '{method: magnitude, pattern: "2:7"}',
        "the pattern 2:7 does not divide the 192 inputs of vision_model.embeddings.patch_embeddings.projection",
    ),
    "nothing of an output": ("{method: wanda, share: 0.999}", "a share of 0.999 would empty vision_model"),
    "a mask after codes": ("{method: rtn}, {method: sparsegpt}", "sparsegpt after rtn: masks are chosen among floats"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_masks_are_refused_before_work_starts(case, picture_folder, tmp_path, penjing, untouched):
    steps, message = BAD[case]
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(f"version: 1\nsteps: [{steps}]\n")
    untouched()
    asked = ("compress", "pictures-dual-encoder", "-o", tmp_path / "out", "--data", picture_folder)
    assert message in penjing(*asked, "--recipe", recipe).check_refused()[0]
    untouched()
