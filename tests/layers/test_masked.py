"""Masked layers: W ⊙ m in PyTorch, dense in graphs, healed without forgetting, stored as a bitmap, never densified."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from engine_rack import opened, rack, relative_errors
from penjing.errors import RecipeError
from penjing.layers.bitmap import bitmap_bytes, spread, squeezed, stored_bytes
from penjing.layers.described import DescribedLayer, blank_layer
from penjing.layers.masked import MaskedLinear, carry_mask, mask_of, masked_layer, products_made_once
from penjing.layers.static import StaticConv, StaticLinear
from penjing.layers.weight_only import IntConv, IntLinear, IntTable
from penjing.tensor.grid import quantize, quantize_pair_safe
from penjing.tensor.mask import magnitude_mask

PLAIN = {
    "linear": lambda: nn.Linear(20, 6),
    "linear without bias": lambda: nn.Linear(20, 6, bias=False),
    "conv1d": lambda: nn.Conv1d(4, 6, 3, stride=2, padding=1, groups=2),
    "conv2d": lambda: nn.Conv2d(4, 6, 3, padding=1, padding_mode="reflect"),
}


def masked(kind: str, share: float = 0.5) -> tuple[nn.Module, DescribedLayer]:
    """A float layer, and its masked one."""
    torch.manual_seed(0)
    plain = PLAIN[kind]().requires_grad_(False).eval()
    return plain, masked_layer(plain, plain.weight, magnitude_mask(plain.weight, share)).eval()


def inputs_for(kind: str) -> torch.Tensor:
    shapes = {"conv1d": (2, 4, 12), "conv2d": (2, 4, 7, 7)}
    return torch.randn(shapes.get(kind, (2, 5, 20)), generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("kind", PLAIN)
def test_computes_with_what_stays(kind):
    plain, layer = masked(kind)
    found = layer(inputs_for(kind))
    plain.weight.mul_(layer.mask)
    assert torch.equal(found, plain(inputs_for(kind)))
    assert isinstance(layer, type(plain))
    for training in (True, False):
        plain.train(training).requires_grad_(training)
        again = masked_layer(plain, plain.weight.detach(), layer.mask)
        assert again.weight.requires_grad == again.training == training


@pytest.mark.parametrize("kind", PLAIN)
def test_is_rebuilt_from_its_description(kind):
    plain, layer = masked(kind)
    again = blank_layer({"layer": type(layer).__name__, **layer.describe()}, plain)
    again.load_state_dict(layer.state_dict())
    assert torch.equal(again(inputs_for(kind)), layer(inputs_for(kind)))
    assert torch.equal(again.mask, layer.mask)


@pytest.mark.parametrize("kind", PLAIN)
def test_healing_moves_what_stays_and_nothing_else(kind):
    plain, layer = masked(kind)
    layer.requires_grad_(True).train()
    steps = torch.optim.AdamW(layer.parameters(), lr=0.1, weight_decay=0.1)
    before, inputs = layer.weight.detach().clone(), inputs_for(kind)
    for _ in range(3):
        (layer(inputs) - plain(inputs)).square().mean().backward()
        steps.step()
        steps.zero_grad()
    assert bool((layer.weight[layer.mask] != before[layer.mask]).all())
    assert bool((layer.weight[~layer.mask] == 0).all())


def test_products_that_are_made_once_give_the_same_gradients():
    torch.manual_seed(0)
    first = nn.Conv2d(3, 4, 3)
    second = nn.Linear(4, 5)
    net = nn.Sequential(
        *(masked_layer(layer, layer.weight, torch.rand_like(layer.weight) > 0.5) for layer in (first, second))
    )
    items = [torch.randn(2, 3, 3, 3) for _ in range(4)]

    def gradients() -> tuple[list[torch.Tensor], torch.Tensor]:
        answers = torch.cat([net[1](net[0](item).mean((2, 3))) for item in items])
        answers.square().sum().backward()
        found = [parameter.grad.clone() for parameter in net.parameters()]
        net.zero_grad()
        return found, answers.detach()

    wanted, answers = gradients()
    with products_made_once(net):
        product = net[1].live
        assert net[1].live is product
        found, again = gradients()
    assert net[1].live is not product
    assert torch.allclose(again, answers)
    assert all(torch.allclose(one, other, atol=1e-5) for one, other in zip(found, wanted, strict=True))
    with pytest.raises(ZeroDivisionError), products_made_once(net):
        raise ZeroDivisionError
    with torch.no_grad():
        net[1].weight.zero_()
    assert not net[1].live.any(), "a weight that moved is read anew"


def test_whatever_moves_a_masked_weight_is_undone_when_training_ends():
    _, layer = masked("linear")
    layer.train()
    with torch.no_grad():
        layer.weight.add_(1)
    wanted = layer(inputs_for("linear"))
    layer.eval()
    assert bool((layer.weight[~layer.mask] == 0).all())
    assert torch.equal(layer(inputs_for("linear")), wanted)


@pytest.mark.parametrize("kind", ["linear", "conv2d"])
def test_graphs_hold_one_dense_weight_with_zeros(kind, tmp_path):
    import onnx

    _, layer = masked(kind)
    component = rack({"out": layer}, inputs_for(kind), {0: "batch"})
    found = {name: graph({"values": inputs_for(kind).numpy()}) for name, graph in opened(component, tmp_path).items()}
    for name in ("onnxruntime", "openvino"):
        assert max(relative_errors(found[name], found["torch"]).values()) < 1e-5
    graph = onnx.load(tmp_path / "rack.onnx").graph
    arrays = [onnx.numpy_helper.to_array(one) for one in graph.initializer]
    (weight,) = [array for array in arrays if array.size == layer.weight.numel()]
    assert int((weight == 0).sum()) == int((~layer.mask).sum())
    assert weight.dtype == "float32"


def int_linear(bits: int, group: int, symmetric: bool, width: int = 20) -> IntLinear:
    torch.manual_seed(0)
    weight = torch.randn(6, width)
    mask = magnitude_mask(weight, 0.5)
    layer = IntLinear(IntTable(6, width, bits, group, symmetric), torch.ones(6))
    layer.table.store(quantize(weight * mask, bits, group, symmetric=symmetric, clip=bits < 8))
    return layer


def static_linear() -> StaticLinear:
    _, layer = masked("linear")
    codes, scales = quantize_pair_safe(layer.weight)
    made = StaticLinear(20, 6, None)
    made.codes.copy_(codes.T)
    made.scales.copy_(scales)
    return made


def conv(kind: str, symmetric: bool = True) -> IntConv | StaticConv:
    plain, layer = masked("conv2d")
    made = StaticConv(plain) if kind == "static" else IntConv(plain, 8)
    if kind == "static":
        made.scales.copy_(layer.weight.flatten(1).abs().amax(1) / 63)
        made.codes.copy_((layer.weight / made.scales.view(-1, 1, 1, 1)).round())
    else:
        made.store(quantize(layer.weight.flatten(1), 8, symmetric=symmetric))
    return made


CODED = {
    **{
        f"{bits} bits in groups of {group}, {'' if symmetric else 'a'}symmetric, {width} wide": (
            lambda bits=bits, group=group, symmetric=symmetric, width=width: int_linear(bits, group, symmetric, width)
        )
        for bits in (2, 3, 4, 8)
        for group in (0, 32)
        for symmetric in (True, False)
        for width in (40, 64)
    },
    "int convolution": lambda: conv("int"),
    "int convolution with zero points": lambda: conv("int", symmetric=False),
    "static": static_linear,
    "static convolution": lambda: conv("static"),
}


@pytest.mark.parametrize("case", CODED)
def test_codes_carry_the_mask_and_come_back_bit_for_bit(case):
    layer = CODED[case]()
    mask = layer.weight != 0
    before = MaskedLinear(layer.weight, None, mask) if layer.weight.dim() == 2 else masked("conv2d")[1]
    before.mask.copy_(mask)
    plain_bytes = layer.table.size_bytes if isinstance(layer, IntLinear) else layer.size_bytes
    assert stored_bytes(layer) == plain_bytes
    carry_mask(before, layer, "here")
    assert torch.equal(mask_of(layer), mask)
    wanted = {name: tensor.clone() for name, tensor in layer.state_dict().items()}
    stored = {**layer.state_dict(), **squeezed(layer)}
    sizes = {name: part.numel() * part.element_size() for name, part in stored.items() if name != "bias"}
    assert sum(sizes.values()) == stored_bytes(layer)
    assert stored_bytes(layer) < plain_bytes or getattr(getattr(layer, "table", None), "bits", 8) == 2
    found = spread(layer, stored)
    assert found.keys() == wanted.keys()
    for name, tensor in wanted.items():
        assert torch.equal(found[name], tensor), name
        assert found[name].dtype == tensor.dtype


@given(st.integers(0, 2**32 - 1), st.integers(1, 9), st.integers(1, 9), st.floats(0, 1))
def test_any_mask_comes_back(seed, rows, width, share):
    weight = torch.randn(rows, width, generator=torch.Generator().manual_seed(seed))
    layer = MaskedLinear(weight, None, magnitude_mask(weight, share))
    stored = squeezed(layer)
    kept = int(layer.mask.sum())
    assert sum(part.numel() * part.element_size() for part in stored.values()) == bitmap_bytes(weight.numel(), kept)
    found = spread(layer, stored)
    assert torch.equal(found["weight"], layer.weight)
    assert torch.equal(found["mask"], layer.mask)


def test_half_of_the_weights_in_eight_bits_take_a_sixth():
    assert bitmap_bytes(1000, 500, 8) / 4000 == pytest.approx(0.15625)


def test_nothing_is_densified_in_silence():
    plain, layer = masked("linear")
    full = int_linear(8, 0, symmetric=True)
    with pytest.raises(RecipeError, match="here is masked, and IntLinear would fill"):
        carry_mask(layer, full, "here")
    with pytest.raises(RecipeError, match="Linear would fill"):
        carry_mask(layer, plain, "here")
    with pytest.raises(RecipeError, match="here is masked") as caught:
        carry_mask(layer, int_linear(8, 0, symmetric=True, width=40), "here")
    assert "before those that mask it" in caught.value.hint
    carry_mask(plain, full, "here")
    assert mask_of(full) is None


def test_what_stands_in_for_a_moment_gets_no_mask():
    _, layer = masked("linear")
    carry_mask(layer, nn.Identity(), "here")
    assert mask_of(nn.Identity()) is None
