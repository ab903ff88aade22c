"""Small codes in few bytes: what is packed comes back, and the bytes are where the engines look for them."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from penjing.tensor.pack import SLOT_BITS, pack_dense, pack_slots, pack_words, unpack_dense, unpack_slots, unpack_words


@settings(max_examples=60, deadline=None)
@given(st.sampled_from([2, 4, 8]), st.integers(1, 5), st.integers(1, 9), st.randoms(use_true_random=False))
def test_slots_come_back(slot_bits, rows, bytes_per_row, random):
    count = rows * bytes_per_row * 8 // slot_bits
    codes = torch.tensor([random.randrange(2**slot_bits) for _ in range(count)], dtype=torch.uint8).reshape(rows, -1)
    packed = pack_slots(codes, slot_bits)
    assert packed.dtype == torch.uint8
    assert packed.shape == (rows, bytes_per_row)
    assert torch.equal(unpack_slots(packed, slot_bits), codes)


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 8), st.integers(1, 7), st.integers(1, 11), st.randoms(use_true_random=False))
def test_dense_codes_come_back_without_gaps(bits, rows, columns, random):
    codes = torch.tensor([random.randrange(2**bits) for _ in range(rows * columns)], dtype=torch.uint8)
    codes = codes.reshape(rows, columns)
    packed = pack_dense(codes, bits)
    assert packed.numel() == -(-rows * columns * bits // 8)
    assert torch.equal(unpack_dense(packed, bits, (rows, columns)), codes)


@pytest.mark.parametrize(
    ("slot_bits", "codes", "wanted"),
    [(4, [0x1, 0x2], [0x21]), (2, [0, 1, 2, 3], [0b11100100]), (8, [7, 200], [7, 200])],
)
def test_the_first_code_is_in_the_lowest_bits(slot_bits, codes, wanted):
    assert pack_slots(torch.tensor(codes, dtype=torch.uint8), slot_bits).tolist() == wanted


def test_three_bits_dense_by_hand():
    assert pack_dense(torch.tensor([1, 2, 3], dtype=torch.uint8), 3).tolist() == [0b11010001, 0]
    assert SLOT_BITS[3] == 4


@pytest.mark.parametrize("bits", [2, 3, 4, 8])
@pytest.mark.parametrize("count", [1, 5, 32, 33, 70, 96])
def test_words_hold_a_row_without_gaps(bits, count):
    codes = torch.randint(0, 2**bits, (3, count), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    words = pack_words(codes, bits)
    assert words.dtype == torch.int32
    assert words.shape == (3, math.ceil(count * bits / 32))
    for row, packed in zip(codes.tolist(), words.tolist(), strict=True):
        number = sum(code << place * bits for place, code in enumerate(row))
        assert [word % 2**32 for word in packed] == [number >> 32 * place & (2**32 - 1) for place in range(len(packed))]
    assert torch.equal(unpack_words(words, bits, count), codes)
