"""Blocks that merge tokens: what they hand on, what they give back, and that networks of any kind bear them."""

from __future__ import annotations

import copy
import json

import pytest
import torch
from torch import nn

from penjing.errors import DataError
from penjing.layers.merging import Merging, MergingBlock, compact_of, trail_of
from penjing.layers.overheard import Overheard
from penjing.seedling.attention import EncoderLayer

WIDTH, HEADS, TOKENS = 8, 2, 10


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(0)


class FusedLayer(nn.Module):
    """Attention by the fused operator, and nothing else; gives a tuple, as some architectures do."""

    def forward(self, hidden: torch.Tensor, mask: torch.Tensor | None = None) -> tuple[torch.Tensor]:
        heads = hidden.unflatten(2, (HEADS, -1)).transpose(1, 2)
        mixed = nn.functional.scaled_dot_product_attention(heads, heads, heads, attn_mask=mask)
        return (hidden + mixed.transpose(1, 2).flatten(2),)


def spelled_layer() -> nn.Module:
    return EncoderLayer(WIDTH, HEADS, 16).eval()


def run(blocks: list[nn.Module], hidden: torch.Tensor) -> torch.Tensor:
    with torch.no_grad():
        for block in blocks:
            output = block(hidden)
            hidden = output[0] if isinstance(output, tuple) else output
    return hidden


@pytest.mark.parametrize("layer", [spelled_layer, FusedLayer])
def test_a_chain_gives_every_token_back(layer):
    plain = [layer() for _ in range(3)]
    hidden = torch.randn(2, TOKENS, WIDTH)
    chain = [MergingBlock(block, Merging(2, protected=1, restores=place == 2)) for place, block in enumerate(plain)]
    whole = run([*chain], hidden)
    compact = compact_of(whole)
    assert whole.shape == hidden.shape
    assert compact is not None
    assert compact.hidden.shape == (2, TOKENS - 6, WIDTH)
    assert torch.equal(whole[:, 0], compact.hidden[:, 0]), "the class token is still the first"
    assert len({tuple(row) for row in whole[0].tolist()}) == TOKENS - 6


@pytest.mark.parametrize("layer", [spelled_layer, FusedLayer])
def test_merging_nothing_changes_nothing(layer):
    block, hidden = layer(), torch.randn(2, TOKENS, WIDTH)
    assert torch.equal(run([MergingBlock(block, Merging(restores=True))], hidden), run([block], hidden))


@pytest.mark.parametrize("layer", [spelled_layer, FusedLayer])
def test_equal_tokens_merge_without_loss(layer):
    """With sizes told to attention, merging what is equal is exact; without, it is not."""
    hidden = torch.randn(1, TOKENS // 2, WIDTH).repeat_interleave(2, 1)
    blocks = [layer(), layer()]
    wanted = run(blocks, hidden)
    for proportional in (True, False):
        merging = [
            Merging(TOKENS // 2 - 1, proportional=proportional),
            Merging(restores=True, proportional=proportional),
        ]
        found = run([MergingBlock(block, one) for block, one in zip(blocks, merging, strict=True)], hidden)
        assert torch.allclose(found, wanted, atol=1e-5) is proportional


def test_sizes_and_rows_travel_with_the_hidden_states():
    block = MergingBlock(spelled_layer(), Merging(3))
    output = run([block], torch.randn(2, TOKENS, WIDTH))
    trail = trail_of(output)
    assert trail is not None
    assert trail.sizes.sum(1).tolist() == [TOKENS, TOKENS]
    assert trail.rows.shape == (2, TOKENS)
    assert trail.metric.shape == (2, TOKENS - 3, WIDTH // HEADS)
    assert trail_of(torch.randn(2, 3, 4)) is None


@pytest.mark.parametrize("layer", [spelled_layer, FusedLayer])
def test_keys_are_overheard(layer):
    block, hidden = layer(), torch.randn(2, TOKENS, WIDTH)
    with Overheard() as attention:
        run([block], hidden)
    assert attention.keys is not None
    assert attention.keys.shape == (2, HEADS, TOKENS, WIDTH // HEADS)


def test_a_share_is_of_what_is_not_protected():
    assert Merging(share=0.25, protected=1).of(9) == 2
    assert Merging(share=0.1).of(750) == 75
    assert Merging(count=3).of(9) == 3


def test_names_and_parts_stay_where_they_were():
    net = nn.Sequential(spelled_layer())
    names = [name for name, _ in net.named_parameters()]
    net[0] = MergingBlock(net[0], Merging(2, restores=True))
    assert [name for name, _ in net.named_parameters()] == names
    net[0].feed = nn.Identity()
    assert isinstance(net[0].inner.feed, nn.Identity), "what replaces a part is what runs"
    assert copy.deepcopy(net)[0].inner.attention is not net[0].inner.attention
    net.train()
    assert net[0].inner.training


MAKERS = ("attention.k_proj", "attention.v_proj")


def test_attention_to_means_of_equal_neighbours_is_exact():
    """Keys and values are half as many, every query stays."""
    hidden = torch.randn(1, TOKENS // 2, WIDTH).repeat_interleave(2, 1)
    layer = spelled_layer()
    block = MergingBlock(layer, Merging(keys=2, makers=MAKERS, restores=True))
    assert torch.allclose(run([block], hidden), run([layer], hidden), atol=1e-5)
    with Overheard() as attention:
        run([block], torch.randn(1, TOKENS + 1, WIDTH))
    assert attention.keys is not None
    assert attention.keys.shape[2] == attention.values.shape[2] == TOKENS // 2 + 1
    assert trail_of(run([block], hidden)) is None, "nothing merged"
    assert not any(module._forward_pre_hooks for module in layer.modules())


def test_merged_tokens_are_averaged_by_their_sizes():
    """Nine tokens become five of sizes 2, 2, 2, 2, 1; the last one counts half as much as any other."""
    hidden = torch.randn(1, 3, WIDTH)[:, [0, 0, 0, 0, 1, 1, 1, 1, 2]]
    layers = [spelled_layer() for _ in range(2)]
    first = MergingBlock(layers[0], Merging(4, match="local"))
    last = MergingBlock(layers[1], Merging(restores=True, keys=2, makers=MAKERS))
    assert torch.allclose(run([first, last], hidden), run(layers, hidden), atol=1e-5)


def test_it_says_how_to_build_it_again():
    block = MergingBlock(spelled_layer(), Merging(0, 0.2, "local", 1, False, True, 2, MAKERS))
    assert json.loads(json.dumps(block.describe())) == block.describe()
    again = MergingBlock.blank(block.describe(), block.inner)
    assert again.merging == block.merging
    with pytest.raises(TypeError):
        MergingBlock.blank(block.describe(), None)


def test_a_mask_that_hides_something_is_refused():
    block, hidden = MergingBlock(FusedLayer(), Merging(2)), torch.randn(1, TOKENS, WIDTH)
    mask = torch.ones(1, 1, 1, TOKENS, dtype=torch.bool)
    assert block(hidden, mask)[0].shape == (1, TOKENS - 2, WIDTH)
    mask[..., -1] = False
    with pytest.raises(DataError, match="cannot be masked"):
        block(hidden, mask)
