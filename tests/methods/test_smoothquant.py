"""SmoothQuant: nothing changes in float, outliers hurt less in int8, and a strength that does not help is not taken."""

from __future__ import annotations

import pytest
import torch

from penjing.errors import DataError
from penjing.methods import Aids, make
from penjing.models.family import Model
from penjing.models.outputs import flat_output
from penjing.models.tower import Tower
from penjing.tensor.grid import relative_error
from penjing.tensor.smooth import awq_scales, smooth_scales
from penjing.values import Note


def tower_of(model: Model, name: str) -> Tower:
    return next(tower for tower in model.towers if tower.name == name)


def batches_of(model: Model, count: int = 4) -> list:
    return [model.family.probe(model.net, seed) for seed in range(count)]


def spoil(tower: Tower) -> None:
    """Give every norm of CLIP's blocks a channel with outliers, as trained transformers have."""
    with torch.no_grad():
        for block in tower.blocks:
            for norm in (block.layer_norm1, block.layer_norm2):
                norm.weight[5] *= 60


def apply(name: str, model: Model, tower: str, tmp_path, **settings) -> list[Note]:
    aids = Aids(model, batches_of(model, 6)[4:], 0, tmp_path)
    return make(name, settings).run(tower_of(model, tower), batches_of(model), aids)


def int8_error(model: Model, tmp_path, *, smooth: bool) -> float:
    tower = tower_of(model, "image")
    spoil(tower)
    batches = batches_of(model)
    with torch.no_grad():
        wanted = [flat_output(tower.run(batch)) for batch in batches]
        if smooth:
            assert any(not note.skipped for note in apply("smoothquant", model, "image", tmp_path))
        apply("static_int8", model, "image", tmp_path, max_error=1e9)
        return sum(relative_error(w, flat_output(tower.run(b))) for w, b in zip(wanted, batches, strict=True))


def test_outliers_hurt_less_in_int8(fresh, tmp_path):
    plain, smoothed = (int8_error(fresh("clip"), tmp_path, smooth=smooth) for smooth in (False, True))
    assert smoothed < 0.6 * plain


@pytest.mark.parametrize("strength", [0.0, 0.5, 1.0])
def test_in_float_the_model_answers_what_it_answered(strength, fresh, tmp_path):
    model = fresh("llama")
    tower, batch = tower_of(model, "decoder"), batches_of(model, 1)[0]
    with torch.no_grad():
        before = flat_output(tower.run(batch))
        notes = apply("smoothquant", model, "decoder", tmp_path, strength=strength)
        assert relative_error(before, flat_output(tower.run(batch))) < 1e-4
    moved = {note.site.rpartition(".")[2] for note in notes if not note.skipped}
    assert moved == {"q_proj", "k_proj", "v_proj", "gate_proj", "up_proj"}
    assert all("no norm feeds it" in note.skipped for note in notes if note.site.endswith(("o_proj", "down_proj")))


def test_a_search_never_ends_worse_than_it_began(fresh, tmp_path):
    """Either some strength helps, or all that norms feed is left as it was and says so."""
    model = fresh("clip")
    before = {name: value.clone() for name, value in model.net.state_dict().items()}
    notes = apply("smoothquant", model, "image", tmp_path)
    fed = [note for note in notes if "no norm feeds it" not in note.skipped]
    if fed[0].skipped:
        assert all(note.skipped.startswith("no strength helps the tower") for note in fed)
        assert all(torch.equal(value, before[name]) for name, value in model.net.state_dict().items())
    else:
        assert not any(note.skipped for note in fed)


def test_codes_of_an_earlier_step_cannot_be_smoothed(fresh, tmp_path):
    model = fresh("llama")
    apply("rtn", model, "decoder", tmp_path)
    assert apply("smoothquant", model, "decoder", tmp_path) == []


def test_without_data_there_is_nothing_to_look_at(fresh, tmp_path):
    model = fresh("clip")
    with pytest.raises(DataError, match="smoothquant needs calibration data"):
        make("smoothquant", {}).run(tower_of(model, "image"), [], Aids(model, [], 0, tmp_path))


def test_the_formula():
    inputs, weights = torch.tensor([16.0, 1.0, 0.0]), torch.tensor([4.0, 1.0, 1.0])
    assert smooth_scales(inputs, weights, 0.5).tolist() == [2.0, 1.0, 1.0]
    assert smooth_scales(inputs, weights, 1.0).tolist() == [16.0, 1.0, 1.0]
    assert smooth_scales(inputs, weights, 0.0).tolist() == [0.25, 1.0, 1.0]


def test_awq_scales_are_centred():
    scales = awq_scales(torch.tensor([1.0, 4.0, 16.0]), 0.5)
    assert scales.tolist() == pytest.approx([0.5, 1.0, 2.0])
    assert awq_scales(torch.tensor([1.0, 4.0]), 0.0).tolist() == [1.0, 1.0]
