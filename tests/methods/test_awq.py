"""AWQ: salient inputs lose less, scales alone change nothing, and it prepares weights for GPTQ."""

from __future__ import annotations

import pytest
import torch

from penjing.errors import DataError
from penjing.methods import Aids, make
from penjing.models.family import Model
from penjing.models.outputs import flat_output
from penjing.models.tower import Tower
from penjing.tensor.grid import relative_error
from penjing.values import Note


def decoder(model: Model) -> Tower:
    return next(tower for tower in model.towers if tower.name == "decoder")


def batches_of(model: Model, count: int = 10) -> list:
    return [model.family.probe(model.net, seed) for seed in range(count)]


def with_salient_inputs(model: Model) -> Model:
    """Some channels of every norm are much larger than the others."""
    with torch.no_grad():
        for layer in model.net.model.layers:
            for norm in (layer.input_layernorm, layer.post_attention_layernorm):
                norm.weight[::8] *= 12
    return model


FED = ("*.q_proj", "*.k_proj", "*.v_proj", "*.gate_proj", "*.up_proj")
"""What norms feed; the others cannot be scaled, and what they lose would hide what these win."""


def apply(name: str, model: Model, tmp_path, sites=FED, **settings) -> list[Note]:
    method = make(name, {**settings, "sites": sites})
    return method.run(decoder(model), batches_of(model), Aids(model, [], 0, tmp_path))


def error_after(model: Model, tmp_path, *steps: tuple[str, dict]) -> float:
    with_salient_inputs(model)
    batches = batches_of(model)
    with torch.no_grad():
        wanted = [flat_output(decoder(model).run(batch)) for batch in batches]
        for name, settings in steps:
            apply(name, model, tmp_path, **settings)
        found = [flat_output(decoder(model).run(batch)) for batch in batches]
    return sum(relative_error(*pair) for pair in zip(wanted, found, strict=True))


def test_less_is_lost_than_by_rounding(fresh, tmp_path):
    grid = {"bits": 3, "group": 32}
    plain = error_after(fresh("llama"), tmp_path, ("rtn", grid))
    scaled = error_after(fresh("llama"), tmp_path, ("awq", grid))
    assert scaled < 0.8 * plain


def test_scales_alone_change_nothing_and_gptq_may_follow(fresh, tmp_path):
    grid = {"bits": 3, "group": 32}
    assert error_after(fresh("llama"), tmp_path, ("awq", {**grid, "round_weights": False})) < 1e-3
    both = error_after(fresh("llama"), tmp_path, ("awq", {**grid, "round_weights": False}), ("gptq", grid))
    assert both < error_after(fresh("llama"), tmp_path, ("rtn", grid))


def test_a_site_that_is_not_scaled_says_so(fresh, tmp_path):
    notes = apply("awq", fresh("llama"), tmp_path, ("*_proj",), group=32, round_weights=False)
    skipped = {note.site.rpartition(".")[2] for note in notes if note.skipped}
    assert skipped == {"o_proj", "down_proj"}
    assert all(note.bits == 32.0 for note in notes)


def test_without_data_nothing_is_salient(fresh, tmp_path):
    model = fresh("llama")
    with pytest.raises(DataError, match="awq needs calibration data"):
        make("awq", {}).run(decoder(model), [], Aids(model, [], 0, tmp_path))


def test_scales_alone_are_no_codes_that_another_step_could_not_take():
    scaled, rounded = (make("awq", {"round_weights": way}) for way in (False, True))
    static = make("static_int8", {})
    assert static.conflict(scaled) == ""
    assert "4-bit codes" in static.conflict(rounded)
    assert static.conflict(make("smoothquant", {})) == ""
