"""Forms of vectors: what each finds against brute force, and which is chosen."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from penjing.index.buckets import Buckets, bucket_count
from penjing.index.choice import Queries, Wanted, chosen, exact
from penjing.index.specs import candidates, specs
from penjing.index.vectors import Vectors
from penjing.values import silent

pytestmark = pytest.mark.shop
WIDTH, COUNT = 64, 1500
NAMES = [spec.name for spec in specs(WIDTH, COUNT)]


@pytest.fixture(scope="module")
def vectors() -> np.ndarray:
    dice = np.random.default_rng(0)
    centres, bases = dice.standard_normal((20, WIDTH)), dice.standard_normal((20, 8, WIDTH))
    made = np.stack([centres[i % 20] + 0.4 * dice.standard_normal(8) @ bases[i % 20] for i in range(COUNT)])
    return (made / np.linalg.norm(made, axis=1, keepdims=True)).astype(np.float32)


def brute(vectors: np.ndarray, rows: np.ndarray, count: int) -> np.ndarray:
    scores = vectors[rows] @ vectors.T
    scores[np.arange(len(rows)), rows] = -np.inf
    return np.argsort(-scores, 1)[:, :count]


def test_exact_is_brute_force(vectors, monkeypatch):
    monkeypatch.setattr("penjing.index.choice.BLOCK", 400)
    rows = np.arange(0, COUNT, 100)
    found = exact(vectors, Queries(vectors[rows], rows), 10)
    assert [{*row} for row in found.tolist()] == [{*row} for row in brute(vectors, rows, 10).tolist()]
    assert exact(vectors[:3], Queries(vectors[:1], np.array([0])), 5).tolist().count(-1) == 0
    assert sorted(exact(vectors[:3], Queries(vectors[:1], np.array([0])), 5)[0].tolist()) == [-1, -1, -1, 1, 2]


@pytest.mark.parametrize("name", NAMES)
def test_what_is_measured_is_what_is_found(name, vectors):
    rows = np.arange(0, COUNT, 30)
    made, found = chosen(vectors, np.arange(COUNT) + 100, Queries(vectors[rows], rows), Wanted(form=name), silent)
    assert found.form == name
    rows = rows[1::2]  # the others choose
    _, numbers = made.search(vectors[rows], 11)
    right = brute(vectors, rows, 10)
    hits = [len({*(row[row != own + 100] - 100)[:10]} & {*best}) / 10
            for row, own, best in zip(numbers, rows, right, strict=True)]  # fmt: skip
    assert found.recall == pytest.approx(np.mean(hits), abs=0.02)
    spec = next(spec for spec in specs(WIDTH, COUNT) if spec.name == name)
    shared_bytes = (found.bytes_per_item - spec.bytes_per_item) * COUNT  # a turn by PCA, means, ranges
    assert -COUNT < shared_bytes < 8 * WIDTH * WIDTH


@pytest.mark.parametrize("name", NAMES)
def test_written_removed_and_chosen_among(name, vectors, tmp_path):
    spec = next(spec for spec in specs(WIDTH, COUNT) if spec.name == name)
    made = Vectors.trained(spec, Buckets(vectors, 1), 1)
    made.add(vectors, np.arange(COUNT))
    made.write(tmp_path / "v")
    again = Vectors.read(spec, tmp_path / "v")
    np.testing.assert_array_equal(again.search(vectors[:9], 5)[1], made.search(vectors[:9], 5)[1])
    again.remove([0, 1])
    assert again.numbers() == [*range(2, COUNT)]
    assert not {0, 1} & {*again.search(vectors[:2], 5)[1].ravel().tolist()}
    scores, numbers = again.search(vectors[:1], 5, [7, 8, 9])
    assert sorted(numbers[0].tolist()) == [-1, -1, 7, 8, 9]
    assert np.isfinite(scores[0, :3]).all()
    cosines = (again.decoded([5, 6]) * vectors[[5, 6]]).sum(1) / np.linalg.norm(again.decoded([5, 6]), axis=1)
    assert cosines.min() > 0.6


def test_the_smallest_that_finds_enough_is_chosen(vectors):
    rows = np.arange(0, COUNT, 30)
    queries, swapped = Queries(vectors[rows], rows), Queries(vectors[rows[::-1]], rows[::-1])  # even ones choose
    every = [spec.name for spec in candidates(WIDTH, COUNT)]
    recalls = {
        name: [
            chosen(vectors, range(COUNT), given, Wanted(form=name), silent)[1].recall for given in (queries, swapped)
        ]
        for name in every
    }
    for least in (0.6, 0.9, 0.99):
        found = chosen(vectors, range(COUNT), queries, Wanted(recall=least), silent)[1]
        assert found.form == next(name for name in every if min(recalls[name]) >= least)
        assert found.recall == recalls[found.form][0] >= least


def test_copies_of_one_vector_count_for_each_other(vectors):
    copies = np.concatenate([vectors[:1000], vectors[:25].repeat(20, 0)])
    rows = np.arange(0, 25)
    kept, found = chosen(copies, range(1500), Queries(copies[rows], rows), Wanted(recall=0.9), silent)
    assert found.recall == 1.0
    assert {*kept.search(copies[:1], 30)[1][0].tolist()} >= {0, *range(1000, 1020)}


def test_the_most_exact_form_is_kept_where_none_finds_enough(vectors, monkeypatch):
    monkeypatch.setattr("penjing.index.choice.ALIKE", -1.0)  # nothing is ever near enough
    rows = np.arange(0, COUNT, 100)
    found = chosen(vectors, range(COUNT), Queries(vectors[rows], rows), Wanted(recall=1.0), silent)[1]
    assert (found.form, found.recall) == ("float16", 0.0)


@pytest.mark.parametrize("width", [64, 48])  # by signs and sums, and by a matrix
def test_a_turn_spreads_what_few_numbers_hold(width):
    dice = np.random.default_rng(0)
    made = uneven(dice.standard_normal((3000, width)))
    rows = np.arange(0, 3000, 30)
    kept, found = chosen(made, range(3000), Queries(made[rows], rows), Wanted(form="int4"), silent)
    assert found.recall > 0.8  # 0.71 unturned
    assert (kept.decoded(rows) * made[rows]).sum(1).mean() == pytest.approx(1, abs=0.01)


def test_shortened_vectors_keep_as_much_of_products_as_so_many_numbers_can():
    made = uneven(np.random.default_rng(0).standard_normal((3000, 64)))
    rows = np.arange(3000)
    kept, _ = chosen(made, range(3000), Queries(made[:10], rows[:10]), Wanted(form="pca32-int8"), silent)
    most = np.linalg.eigvalsh(made.T @ made)[::-1][:32].sum() / 3000  # the mean is one of their directions
    assert (kept.decoded(rows) * made).sum(1).mean() == pytest.approx(most, abs=0.01)


def uneven(vectors: np.ndarray) -> np.ndarray:
    """Unit vectors of which few numbers hold most, away from the origin."""
    width = vectors.shape[1]
    made = vectors * np.linspace(2, 0.05, width) ** 2 + 3.0 * (np.arange(width) == width - 1)
    return (made / np.linalg.norm(made, axis=1, keepdims=True)).astype(np.float32)


@pytest.mark.parametrize("name", ["pq16", "pq-float16"])
def test_codes_of_groups_of_numbers(name):
    dice = np.random.default_rng(0)
    centres, bases = dice.standard_normal((40, 128)), dice.standard_normal((40, 8, 128))
    made = np.stack([centres[i % 40] + 0.4 * dice.standard_normal(8) @ bases[i % 40] for i in range(10_000)])
    made = (made / np.linalg.norm(made, axis=1, keepdims=True)).astype(np.float32)
    rows = np.arange(0, 10_000, 200)
    kept, found = chosen(made, range(10_000), Queries(made[rows], rows), Wanted(form=name), silent)
    own = kept.search(made[rows], 1)[1][:, 0]
    if name == "pq16":  # a code a group, the number, and codebooks of 256 entries
        assert found.bytes_per_item == pytest.approx(16 + 8 + 4 * 256 * 128 / 10_000, abs=1)
        assert np.mean(own % 40 == rows % 40) == 1
    else:  # what is found by codes is ranked as it is
        assert own.tolist() == rows.tolist()
        assert found.recall > 0.95


def test_few_vectors_keep_everything_unless_asked(vectors):
    queries = Queries(vectors[:10], np.arange(10))
    assert chosen(vectors, range(COUNT), queries, Wanted(), silent)[1].form == "float16"
    assert chosen(vectors[:50], range(50), queries, Wanted(recall=0.5), silent)[1].form == "float16"


def test_many_lie_in_buckets(vectors, monkeypatch):
    monkeypatch.setattr("penjing.index.buckets.BUCKETS_FROM", 1000)
    rows = np.arange(0, COUNT, 30)
    queries = Queries(vectors[rows], rows)
    spec = next(spec for spec in specs(WIDTH, COUNT) if spec.name == "int8")
    few, found = chosen(vectors, range(COUNT), queries, Wanted(recall=0.5, form="int8"), silent)
    _, most = chosen(vectors, range(COUNT), queries, Wanted(recall=0.99, form="int8"), silent)
    assert found.buckets == bucket_count(COUNT) == few.buckets > 1
    assert 1 <= found.looks_into <= most.looks_into <= found.buckets
    assert few.looks_into == found.looks_into
    assert replace(spec, name="x").factory(bucket_count(COUNT)).startswith("IVF512(SQfp16)")


def test_the_smallest_form_is_found_though_a_part_has_few_neighbours(monkeypatch):
    monkeypatch.setattr("penjing.index.buckets.BUCKETS_FROM", 1000)
    monkeypatch.setattr("penjing.index.choice.SCREENED_ON", 300)
    dice = np.random.default_rng(1)
    centres, inside = dice.normal(size=(60, 64)), dice.normal(size=(60, 16, 64))
    every = np.concatenate([centres[one] + 0.3 * dice.normal(size=(100, 16)) @ inside[one] for one in range(60)])
    every = (every / np.linalg.norm(every, axis=1, keepdims=True)).astype(np.float32)
    rows = np.arange(0, 6000, 40)
    queries, ids = Queries(every[rows], rows), range(6000)
    names = [spec.name for spec in specs(64, 6000)]
    enough = (name for name in names if chosen(every, ids, queries, Wanted(0.9, form=name), silent)[1].recall >= 0.9)
    assert chosen(every, ids, queries, Wanted(0.9), silent)[1].form == next(enough) != "float16"
