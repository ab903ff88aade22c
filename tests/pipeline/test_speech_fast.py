"""The recipe `speech-fast` on a tiny Whisper: what it does to which block, and that a smaller encoder is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from penjing.artifact.export import export_component
from penjing.errors import RecipeError
from penjing.layers.merging import MergingBlock
from penjing.layers.static import StaticLinear
from penjing.models.open import open_model
from penjing.pipeline.steps import Bench, Calibration, run_steps
from penjing.recipe import check_fit, read_recipe
from penjing.runtimes.engine import choose_engine
from penjing.values import silent
from tiny_speech import save_whisper

FRAMES = 400


def test_it_merges_pools_and_rounds(tmp_path):
    model = open_model(str(save_whisper(tmp_path / "whisper", layers=3)))
    batches = [model.family.probe(model.net, seed) for seed in range(2)]
    recipe, engine = read_recipe("speech-fast"), choose_engine("onnxruntime", 1, cache=False)
    check_fit(recipe, model)
    model, done = run_steps(model, recipe, Calibration(batches, batches, "probes"), Bench(tmp_path, engine), silent)
    assert [note.change for note in done[0].notes] == [*["attention to means of 2 tokens"] * 2, "40% fewer tokens"]
    encoder = next(tower for tower in model.towers if tower.name == "encoder")
    assert all(isinstance(block, MergingBlock) for block in encoder.blocks)
    rounded = [isinstance(site.module, StaticLinear) for site in encoder.sites.values() if site.kind == "linear"]
    assert sum(rounded) > len(rounded) // 2
    component = next(one for one in model.family.components(model.net) if one.name == "encoder_model")
    graph = engine.open(export_component(component, tmp_path))
    sound = {"input_features": batches[0]["input_features"].numpy()[..., :FRAMES]}
    for keys in graph(sound).values():
        assert keys.shape[2] == FRAMES // 2
        assert np.isfinite(keys).all()


def test_an_encoder_of_two_blocks_is_refused(tmp_path: Path):
    model = open_model(str(save_whisper(tmp_path, layers=2)))
    with pytest.raises(RecipeError, match="3 numbers for its 2 blocks"):
        check_fit(read_recipe("speech-fast"), model)
