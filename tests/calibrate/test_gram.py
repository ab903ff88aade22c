"""Second moments of inputs: their sum, and one product for sites that are fed the same tensor."""

from __future__ import annotations

import pytest
import torch

from penjing.calibrate.gram import Products
from penjing.calibrate.walk import walk

INPUTS = torch.randn(2, 5, 4, generator=torch.Generator().manual_seed(0))


def test_it_is_the_sum_over_all_tokens():
    gram = Products().gram()
    gram.see(INPUTS)
    gram.see(2 * INPUTS[:1])
    rows = torch.cat([INPUTS.reshape(-1, 4), 2 * INPUTS[0]])
    assert torch.allclose(gram.values, rows.T @ rows, rtol=1e-5)
    assert gram.tokens == 15
    assert gram.finite


def test_the_same_tensor_is_multiplied_once_and_another_anew():
    products = Products()
    first, second = products.of(INPUTS)[0], products.of(INPUTS)[0]
    assert first is second
    assert products.of(INPUTS.clone())[0] is not first
    again = products.of(INPUTS[:, :, :])[0]
    changed = INPUTS.clone()
    before = products.of(changed)[0].clone()
    changed[0, 0, 0] += 1
    assert not torch.equal(products.of(changed)[0], before), "a tensor changed in place is another one"
    assert torch.equal(again, first)


def test_statistics_that_share_a_product_do_not_share_their_sum():
    products = Products()
    one, other = products.gram(), products.gram()
    one.see(INPUTS)
    other.see(INPUTS)
    one.see(INPUTS)
    assert torch.allclose(one.values, 2 * other.values)


def test_what_is_not_finite_is_noticed():
    gram = Products().gram()
    assert gram.finite
    bad = INPUTS.clone()
    bad[1, 2, 3] = float("inf")
    gram.see(bad)
    assert not gram.finite


def test_only_watched_sites_have_statistics(fresh):
    model = fresh("llama")
    tower = next(tower for tower in model.towers if tower.name == "decoder")
    wanted = next(name for name, site in tower.sites.items() if site.kind == "linear")
    batches = [model.family.probe(model.net, 0)]
    found = [name for _, _, stats in walk(tower, batches, Products().gram, {wanted}) for name in stats]
    assert found == [wanted]


def test_every_token_counts_alike_where_asked():
    values = torch.randn(20, 6, generator=torch.Generator().manual_seed(3))
    even = Products(even=True).gram()
    even.see(values * torch.logspace(-3, 3, 20)[:, None])
    rows = values / values.square().mean(1, keepdim=True).sqrt()
    assert torch.allclose(even.values, rows.T @ rows, atol=1e-3)
    assert float(even.values.trace()) == pytest.approx(20 * 6, rel=1e-4)
    even.see(torch.zeros(2, 6))
    assert bool(torch.isfinite(even.values).all())
