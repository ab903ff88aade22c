"""What a model says of data, and how much of it is lost."""

from __future__ import annotations

import math

import pytest
import torch

from penjing.calibrate.gates import felt
from penjing.calibrate.proxy import Proxy, Verdict, verdicts
from penjing.models.family import Model
from penjing.models.inner import find_inner
from penjing.models.tower import find_places
from penjing.values import silent


def probes(model: Model, count: int = 4) -> list:
    return [model.family.probe(model.net, seed) for seed in range(count)]


def test_encoders_of_two_modalities_say_what_belongs_together(fresh):
    model = fresh("clip")
    found = verdicts(model, probes(model))
    assert [tuple(one.logits.shape) for one in found] == [(4, 4), (4, 4)]
    assert torch.equal(found[0].logits, found[1].logits.T)
    assert found[0].targets is not None
    assert found[0].targets.tolist() == [0, 1, 2, 3]


def test_a_decoder_says_the_next_word(fresh):
    model = fresh("llama")
    (batch,) = probes(model, 1)
    (found,) = verdicts(model, [batch])
    words = batch["input_ids"][0]
    assert found.logits.shape == (len(words) - 1, model.config.vocab_size)
    assert found.targets is not None
    assert torch.equal(found.targets, words[1:])


def test_whatever_answers_neither_is_compared_as_it_is(fresh):
    model = fresh("distilbert_bare")
    found = verdicts(model, probes(model, 2))
    assert all(one.is_outputs for one in found)
    assert len(found) == 2


def test_nothing_is_lost_until_something_changes(fresh):
    model = fresh("seedling")
    proxy = Proxy(model, probes(model))
    assert proxy.lost() == pytest.approx(0, abs=1e-6)
    with torch.no_grad():
        model.net.image.layers[0].feed.fc2.weight.mul_(-3)
    assert proxy.lost() > 1e-3


def test_the_divergence_of_two_distributions():
    sure, even = Verdict(torch.tensor([[math.log(3.0), 0.0]])), Verdict(torch.zeros(1, 2))
    assert sure.lost(even) == pytest.approx(0.75 * math.log(1.5) + 0.25 * math.log(0.5))
    assert sure.lost(sure) == 0
    values = Verdict(torch.tensor([[3.0, 4.0]]), is_outputs=True)
    assert values.lost(Verdict(torch.tensor([[3.0, 3.0]]), is_outputs=True)) == pytest.approx(1 / 25)


@pytest.mark.parametrize("labels", ["data", "own"])
def test_a_unit_that_nobody_listens_to_is_not_felt(labels, fresh):
    model = fresh("clip")
    block, batch = model.net.vision_model.encoder.layers[0], probes(model)
    with torch.no_grad():
        block.mlp.fc2.weight[:, :7] = 0
    hidden = torch.randn(1, 5, 32)
    sites = [*find_places(block)]
    inner = {one.reader.name: one for one in find_inner(block, lambda: block(hidden, None), sites)}
    found = felt(model, {"fc2": inner["mlp.fc2"]}, batch, labels, silent)["fc2"]
    assert found[:7].tolist() == [0.0] * 7
    assert float(found[7:].min()) > 0


def test_a_closed_gate_costs_what_its_derivative_foretells(fresh):
    """To first order: a unit scaled by 1 − ε changes the likelihood by −ε times the derivative."""
    model = fresh("llama")
    (batch,) = probes(model, 1)
    block = model.net.model.layers[1]
    sites = [*find_places(block)]
    hidden, rotary = torch.randn(1, 5, 32), model.net.model.rotary_emb(torch.zeros(1, 5, 32), torch.arange(5)[None])
    (inner,) = find_inner(block, lambda: block(hidden, position_embeddings=rotary), sites)
    found = felt(model, {"down": inner}, [batch], "data", silent)["down"]
    unit, step = int(found.argmax()), 0.2
    likelihood = []
    with torch.no_grad():
        for factor in (1 - step, 1 + step):
            kept = block.mlp.down_proj.weight.clone()
            block.mlp.down_proj.weight[:, unit] *= factor
            (said,) = verdicts(model, [batch])
            likelihood.append(float(said.likelihood("data", torch.Generator())))
            block.mlp.down_proj.weight.copy_(kept)
    slope = (likelihood[1] - likelihood[0]) / (2 * step)
    assert slope**2 == pytest.approx(float(found[unit]), rel=0.05)
