"""Modality balance: gradients tell what is felt, statistics follow, and equal weights change no bit."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from penjing.calibrate.balance import modality_weights, weighing
from penjing.calibrate.gram import Products
from penjing.data.source import load_dataset
from penjing.data.split import split
from penjing.methods import Aids, make
from penjing.models.tower import Tower

KINDS = torch.tensor([0, 0, 0, 1])
FELT = torch.tensor([3.0, 3.0, 3.0, 1.0])


def tower() -> Tower:
    """One block; the loss feels tokens of kind 0 three times as much as those of kind 1."""
    block = nn.Linear(5, 5)

    def run(batch):
        return block(batch["tokens"])

    return Tower(
        "mixed", "connector", "mixed", block, run, (block,),
        origins=lambda batch: KINDS, loss=lambda batch: (run(batch)[0].sum(1) * FELT).sum(),
    )  # fmt: skip


def test_the_weight_is_the_mean_gradient_and_one_on_average():
    found = modality_weights(tower(), [{"tokens": torch.randn(1, 4, 5)} for _ in range(3)])
    assert found[0] / found[1] == pytest.approx(3.0)
    assert sum(found[kind] for kind in KINDS.tolist()) == pytest.approx(4.0)


def test_a_tower_of_one_kind_is_not_weighed(fresh):
    plain = Tower("plain", "encoder", "image", nn.Identity(), lambda batch: batch, (nn.Identity(),))
    assert modality_weights(plain, [{}]) is None
    assert weighing(plain, None) is None
    for one in fresh("clip").towers:
        assert one.origins is None


def test_a_kind_that_no_gradient_was_taken_of_weighs_one():
    late = Tower(
        "late", "connector", "mixed", nn.Identity(), lambda batch: batch, origins=lambda batch: torch.tensor([0, 5])
    )
    assert weighing(late, {0: 2.0, 1: 0.5})({}).tolist() == [2.0, 1.0]


def test_statistics_follow_the_weights():
    weigh = weighing(tower(), {0: 2.0, 1: 0.5})
    products = Products(weigh)
    gram, values = products.gram(), torch.randn(1, 4, 5)
    gram.begin({})
    gram.see(values)
    rows = values[0]
    wanted = sum(weight * row.outer(row) for weight, row in zip([2.0, 2.0, 2.0, 0.5], rows, strict=True))
    assert torch.allclose(gram.values, wanted, atol=1e-5)


def test_tokens_that_are_not_the_towers_are_noticed():
    gram = Products(weighing(tower(), {0: 1.0, 1: 1.0})).gram()
    gram.begin({})
    with pytest.raises(ValueError, match="7 tokens, 4 weights"):
        gram.see(torch.randn(1, 7, 5))


def test_a_new_batch_has_weights_of_its_own():
    weights = {0: torch.ones(4), 1: 3 * torch.ones(4)}
    products = Products(lambda batch: weights[int(batch["place"])])
    gram, values = products.gram(), torch.randn(1, 4, 5)
    for place in range(2):
        gram.begin({"place": torch.tensor(place)})
        gram.see(values)
    assert torch.allclose(gram.values, 4 * values[0].T @ values[0], atol=1e-5)


@pytest.fixture(scope="module")
def rows():
    return split(load_dataset("scenes")).calibrate[:12]


def settled(model, rows, tmp_path, **settings):
    batches = list(model.family.batches(model.settings, model.folder, rows))
    (fusion,) = [one for one in model.towers if one.name == "fusion"]
    notes = make("gptq", {"bits": 4, "group": 32, **settings}).run(fusion, batches, Aids(model, [], 0, tmp_path))
    assert not [note for note in notes if note.skipped]
    return {name: site.weight for name, site in fusion.sites.items()}


def test_weights_of_one_reproduce_plain_gptq_bit_for_bit(fresh_seedling, rows, tmp_path, monkeypatch):
    plain = settled(fresh_seedling(), rows, tmp_path, balance=False)
    monkeypatch.setattr("penjing.methods.gptq.modality_weights", lambda tower, batches: {0: 1.0, 1: 1.0, 2: 1.0})
    balanced = settled(fresh_seedling(), rows, tmp_path)
    assert all(torch.equal(balanced[name], weight) for name, weight in plain.items())


def test_the_fusion_of_a_seedling_is_weighed(fresh_seedling, rows, tmp_path):
    model = fresh_seedling()
    batches = list(model.family.batches(model.settings, model.folder, rows))
    (fusion,) = [one for one in model.towers if one.name == "fusion"]
    found = modality_weights(fusion, batches)
    assert set(found) == {0, 1, 2}
    assert all(weight > 0 for weight in found.values())
    plain, balanced = (settled(fresh_seedling(), rows, tmp_path, balance=way) for way in (False, True))
    assert any(not torch.equal(balanced[name], weight) for name, weight in plain.items())


@pytest.fixture
def fresh_seedling(seedling_folder):
    """The tiny seedling, opened anew each time."""
    from penjing.models.open import open_model

    return lambda: open_model(str(seedling_folder))
