"""Attention and the two kinds of layers made of it."""

from __future__ import annotations

import torch
from torch import Tensor, nn

KeyValue = tuple[Tensor, Tensor]
"""Keys and values, each (batch, heads, tokens, head width)."""


def attend(query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None = None) -> Tensor:
    """softmax(Q Kᵀ / √d) V (Vaswani et al. 2017, equation 1).

    query (batch, heads, m, d), key and value (batch, heads, n, d) -> (batch, heads, m, d). `mask` is true where a query
    may look, and broadcasts to (batch, heads, m, n). The scale goes on the smaller of the two factors, the query.
    """
    scores = (query * query.shape[-1] ** -0.5) @ key.transpose(2, 3)
    if mask is not None:
        scores = scores.masked_fill(~mask, torch.finfo(scores.dtype).min)
    mixed: Tensor = torch.softmax(scores, -1) @ value
    return mixed


def split_heads(values: Tensor, heads: int) -> Tensor:
    """(batch, tokens, width) -> (batch, heads, tokens, width / heads)."""
    batch, tokens, width = values.shape
    return values.view(batch, tokens, heads, width // heads).transpose(1, 2)


class SelfAttention(nn.Module):
    """Every token looks at every token that the mask allows."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.q_proj, self.k_proj, self.v_proj, self.out_proj = (nn.Linear(width, width) for _ in range(4))

    def forward(
        self, hidden: Tensor, mask: Tensor | None = None, past: KeyValue | None = None
    ) -> tuple[Tensor, KeyValue]:
        """hidden (batch, tokens, width) -> the same, and keys and values of the past and of these tokens."""
        query, key, value = (split_heads(part(hidden), self.heads) for part in (self.q_proj, self.k_proj, self.v_proj))
        if past is not None:
            key, value = torch.cat([past[0], key], 2), torch.cat([past[1], value], 2)
        mixed = attend(query, key, value, mask)
        return self.out_proj(mixed.transpose(1, 2).flatten(2)), (key, value)


class CrossAttention(nn.Module):
    """Tokens look at a memory whose keys and values were made once."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.q_proj, self.out_proj = nn.Linear(width, width), nn.Linear(width, width)

    def forward(self, hidden: Tensor, memory: KeyValue, mask: Tensor | None = None) -> Tensor:
        """hidden (batch, tokens, width) -> the same."""
        mixed = attend(split_heads(self.q_proj(hidden), self.heads), *memory, mask)
        attended: Tensor = self.out_proj(mixed.transpose(1, 2).flatten(2))
        return attended


class FeedForward(nn.Module):
    """Two linear layers with a GELU between them, token by token."""

    def __init__(self, width: int, inner: int) -> None:
        super().__init__()
        self.fc1, self.fc2 = nn.Linear(width, inner), nn.Linear(inner, width)

    def forward(self, hidden: Tensor) -> Tensor:
        """hidden (batch, tokens, width) -> the same."""
        output: Tensor = self.fc2(nn.functional.gelu(self.fc1(hidden)))
        return output


class EncoderLayer(nn.Module):
    """Self-attention and feed-forward, each behind a norm and beside a residual path."""

    def __init__(self, width: int, heads: int, inner: int) -> None:
        super().__init__()
        self.attention_norm, self.attention = nn.LayerNorm(width), SelfAttention(width, heads)
        self.feed_norm, self.feed = nn.LayerNorm(width), FeedForward(width, inner)

    def forward(self, hidden: Tensor, mask: Tensor | None = None) -> Tensor:
        """hidden (batch, tokens, width) -> the same."""
        hidden = hidden + self.attention(self.attention_norm(hidden), mask)[0]
        changed: Tensor = hidden + self.feed(self.feed_norm(hidden))
        return changed


class DecoderLayer(nn.Module):
    """Self-attention over what was written, cross-attention to the memory, feed-forward."""

    def __init__(self, width: int, heads: int, inner: int) -> None:
        super().__init__()
        self.attention_norm, self.attention = nn.LayerNorm(width), SelfAttention(width, heads)
        self.cross_norm, self.cross = nn.LayerNorm(width), CrossAttention(width, heads)
        self.feed_norm, self.feed = nn.LayerNorm(width), FeedForward(width, inner)

    def forward(
        self, hidden: Tensor, memory: KeyValue, mask: Tensor, memory_mask: Tensor | None, past: KeyValue | None
    ) -> tuple[Tensor, KeyValue]:
        """hidden (batch, tokens, width) -> the same, and the grown past."""
        attended, present = self.attention(self.attention_norm(hidden), mask, past)
        hidden = hidden + attended
        hidden = hidden + self.cross(self.cross_norm(hidden), memory, memory_mask)
        return hidden + self.feed(self.feed_norm(hidden)), present
