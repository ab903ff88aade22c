"""What a step learns from: everything equally often, by its number alone."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from penjing.teach.draw import Draw

KINDS = ["words"] * 40 + ["sounds"] * 8 + ["pictures"] * 16
SHAPES = [(place % 3, place % 6) for place in range(64)]


def test_every_kind_has_its_share_of_a_batch_however_few_there_are():
    draw = Draw(KINDS, SHAPES, 12, 0)
    for step in range(20):
        assert Counter(KINDS[item] for item in draw(step)) == {"words": 4, "sounds": 4, "pictures": 4}


def test_every_item_of_a_kind_is_learned_equally_often():
    draw = Draw(KINDS, SHAPES, 12, 0)
    seen = Counter(item for step in range(20) for item in draw(step))
    for kind, times in (("words", 2), ("sounds", 10), ("pictures", 5)):
        assert {seen[item] for item, one in enumerate(KINDS) if one == kind} == {times}


@given(st.integers(0, 50), st.integers(1, 20), st.integers(0, 3))
def test_a_step_is_a_function_of_its_number(step, size, seed):
    draw = Draw(KINDS, SHAPES, size, seed)
    for before in range(3):
        draw(before)
    assert draw(step) == Draw(KINDS, SHAPES, size, seed)(step)
    assert len(draw(step)) == size


def test_seeds_and_epochs_differ():
    one, other = Draw(KINDS, SHAPES, 12, 0), Draw(KINDS, SHAPES, 12, 1)
    assert one(0) != other(0)
    assert sorted(one(0)) != sorted(one(10))


def test_items_of_one_shape_come_together():
    """Of one first shape; of one second, as far as parts of that size can be."""
    draw = Draw(["a"] * 60, [(place % 4, place % 12) for place in range(60)], 5, 0)
    for modulus in (4, 12):
        assert [len({item % modulus for item in draw(step)}) for step in range(12)] == [1] * 12


def test_kinds_take_turns_in_coming_first():
    draw = Draw(KINDS, SHAPES, 12, 0)
    assert [KINDS[draw(step)[0]] for step in range(4)] == ["words", "sounds", "pictures", "words"]


def test_more_kinds_than_a_batch_holds_take_turns():
    draw = Draw(list(range(10)), [(0, 0)] * 10, 4, 0)
    seen = Counter(item for step in range(5) for item in draw(step))
    assert set(seen.values()) == {2}
