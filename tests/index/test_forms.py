"""Forms of vectors: what each finds against brute force, and which is chosen."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from penjing.index.choice import Queries, Wanted, chosen, exact
from penjing.index.specs import buckets, specs
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
    made = Vectors.trained(spec, vectors, 1)
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
    queries = Queries(vectors[rows], rows)
    every = {spec.name: spec for spec in specs(WIDTH, COUNT)}
    recalls = {name: chosen(vectors, range(COUNT), queries, Wanted(form=name), silent)[1].recall for name in every}
    for least in (0.6, 0.9, 0.99):
        found = chosen(vectors, range(COUNT), queries, Wanted(recall=least), silent)[1]
        enough = [name for name in every if recalls[name] >= least]
        assert found.form == enough[0]
        assert found.recall >= least


def test_few_vectors_keep_everything_unless_asked(vectors):
    queries = Queries(vectors[:10], np.arange(10))
    assert chosen(vectors, range(COUNT), queries, Wanted(), silent)[1].form == "float16"
    assert chosen(vectors[:50], range(50), queries, Wanted(recall=0.5), silent)[1].form == "float16"


def test_many_lie_in_buckets(vectors, monkeypatch):
    monkeypatch.setattr("penjing.index.specs.BUCKETS_FROM", 1000)
    rows = np.arange(0, COUNT, 30)
    queries = Queries(vectors[rows], rows)
    spec = next(spec for spec in specs(WIDTH, COUNT) if spec.name == "int8")
    few, found = chosen(vectors, range(COUNT), queries, Wanted(recall=0.5, form="int8"), silent)
    _, most = chosen(vectors, range(COUNT), queries, Wanted(recall=0.99, form="int8"), silent)
    assert found.buckets == buckets(COUNT) == few.buckets > 1
    assert 1 <= found.looks_into <= most.looks_into <= found.buckets
    assert few.looks_into == found.looks_into
    assert replace(spec, name="x").factory(buckets(COUNT)).startswith("IVF256")


def test_the_smallest_form_is_found_though_a_part_has_few_neighbours(monkeypatch):
    monkeypatch.setattr("penjing.index.specs.BUCKETS_FROM", 1000)
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
