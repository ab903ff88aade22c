"""Any torch module: compressed in Python with a forward, batches and a metric."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import penjing
from penjing.artifact.checkpoint import load_network
from penjing.errors import DataError, RecipeError
from penjing.runtimes.engine import choose_engine

WIDTH = {"method": "width", "channels": 0.5, "neurons": 0.5, "multiple": 2}


class Small(nn.Module):
    """Convolution, norm, pooling, two fully connected layers."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten()
        )
        self.first, self.second = nn.Linear(8 * 16, 24), nn.Linear(24, 5)

    def forward(self, pictures: Tensor, scale: Tensor | None = None) -> Tensor:
        hidden = torch.relu(self.first(self.features(pictures)))
        logits: Tensor = self.second(hidden)
        return logits if scale is None else logits * scale


@pytest.fixture
def net() -> Small:
    torch.manual_seed(0)
    return Small().eval()


@pytest.fixture
def batches() -> list[Tensor]:
    source = torch.Generator().manual_seed(0)
    return [torch.randn(4, 3, 8, 8, generator=source) for _ in range(6)]


def test_a_module_gets_narrower_and_is_a_plain_module_still(net, batches):
    found = penjing.compress(net, [WIDTH], batches=batches, metric=lambda one: float(one(batches[0]).norm()))
    small = found.module
    assert (small.features[0].out_channels, small.features[1].num_features) == (4, 4)
    assert (small.first.weight.shape, small.second.weight.shape) == ((12, 64), (5, 12))
    assert net.first.weight.shape == (24, 128)  # the module given is left as it was
    assert found.before == pytest.approx(float(net(batches[0]).detach().norm()))
    assert found.after == pytest.approx(float(small(batches[0]).detach().norm()))
    for values in small.parameters():
        values.requires_grad_(True)
    small(batches[0]).square().sum().backward()
    assert all(values.grad is not None for values in small.parameters())


def test_steps_follow_one_another_and_the_graph_answers_as_the_module(net, batches, tmp_path):
    narrow = penjing.compress(net, [WIDTH], batches=batches)
    found = penjing.compress(narrow.module, [{"method": "rtn", "bits": 8}], batches=batches)
    assert found.size_bytes < narrow.size_bytes < sum(4 * values.numel() for values in net.parameters())
    assert (found.before, found.after) == (None, None)
    path = found.export(tmp_path / "graph")
    for engine in ("onnxruntime", "openvino"):
        graph = choose_engine(engine, 1, cache=False).open(path)
        (answer,) = graph({"pictures": batches[0][:3].numpy()}).values()
        with torch.no_grad():
            np.testing.assert_allclose(answer, found.module(batches[0][:3]).numpy(), rtol=2e-2, atol=2e-2)


def test_what_is_saved_opens_again(net, batches, tmp_path):
    found = penjing.compress(net, [{"method": "rtn", "bits": 4, "group": 0}], batches=batches)
    folder = found.save(tmp_path / "saved")
    torch.manual_seed(1)
    with torch.no_grad():
        assert torch.equal(load_network(folder, Small().eval())(batches[0]), found.module(batches[0]))


def test_inputs_come_as_tensors_tuples_or_by_name(net, batches):
    scale = torch.full((4, 1), 2.0)
    for given in ([(one, scale) for one in batches], [{"pictures": one, "scale": scale} for one in batches]):
        found = penjing.compress(net, [WIDTH], batches=given)
        assert found.module.first.out_features == 12


@pytest.mark.parametrize(
    ("recipe", "given", "error", "said"),
    [
        ([{"method": "width", "neurons": 0.99, "multiple": 1}], None, RecipeError, "second: width would leave"),
        ([{"method": "wdth"}], None, RecipeError, "no method called 'wdth'"),
        ([WIDTH], [], DataError, "no batches"),
        ([WIDTH], [(torch.zeros(1, 3, 8, 8), None)], DataError, "scale is a NoneType"),
        ([WIDTH], [tuple(torch.zeros(3, 1, 3, 8, 8))], DataError, "takes 2"),
        ([{"method": "rtn", "sites": ["nothing.*"]}], None, RecipeError, "no site matches"),
    ],
)
def test_mistakes_are_told_before_work(recipe, given, error, said, net, batches):
    with pytest.raises(error, match=said):
        penjing.compress(net, recipe, batches=batches if given is None else given)


def test_a_recipe_file_serves_as_well(net, batches, tmp_path):
    path = tmp_path / "recipe.yaml"
    path.write_text("version: 1\nsteps: [{method: rtn, bits: 8}]\n", encoding="utf8")
    assert penjing.compress(net, path, batches=batches).size_bytes < 6000


def test_the_package_still_imports_without_torch():
    code = "import sys, penjing; print(callable(penjing.compress), 'torch' in sys.modules)"
    found = subprocess.run([sys.executable, "-c", code], check=True, timeout=60, capture_output=True, text=True)
    assert found.stdout.split() == ["True", "False"]
