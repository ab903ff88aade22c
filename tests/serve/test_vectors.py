"""Search over HTTP: what a pattern may choose by, and what it must not tell."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from http_server import listening
from penjing.apps.search import Searcher, index
from penjing.index.choice import Wanted
from penjing.serve.limits import Limits
from penjing.serve.shelf import Served, Shelf
from penjing.serve.worker import Worker
from tiny_colours import embedding, paint


@pytest.fixture
def running(tmp_path) -> Iterator[Any]:
    """Three colours of two folders."""
    for name, colour in (
        ("hidden/red-1.png", (200, 0, 0)),
        ("hidden/red-2.png", (190, 9, 9)),
        ("blue.png", (0, 0, 200)),
    ):
        paint(tmp_path / "photos", name, colour)
    model, limits = embedding(tmp_path), Limits()
    index(model, [str(tmp_path / "photos")], str(tmp_path / "idx"), Wanted())
    served = Served("colours", tmp_path, Worker(model.runner, limits), 1)
    with listening(Shelf([served], Searcher(tmp_path / "idx", model), served), limits) as found:
        yield found


def names(running, **more: Any) -> list[str]:
    answer = running.post("/v1/search", {"query": "200 0 0", **more})
    assert answer.status == 200, answer.body
    return [hit["name"] for hit in answer.json["data"]]


def test_a_pattern_is_of_names(running):
    assert names(running) == ["red-1.png", "red-2.png", "blue.png"]
    assert names(running, path="red-*", k=1) == ["red-1.png"]
    assert names(running, path="*-2.???") == ["red-2.png"]
    assert names(running, path="[^r]*") == ["blue.png"]
    assert names(running, path="blue*", k=1) == ["blue.png"]
    assert names(running, path="*.png", kind="text") == []


@pytest.mark.parametrize("pattern", ["*hidden*", "h*", "*photos*", "*idden?red*"])
def test_where_files_lie_cannot_be_guessed(pattern, running):
    assert names(running, path=pattern) == []


@pytest.mark.parametrize("length", [256, 60_000])
def test_a_pattern_is_no_longer_than_a_name(length, running):
    answer = running.post("/v1/search", {"query": "200 0 0", "path": "*" * length})
    assert (answer.status, answer.json["error"]["param"]) == (400, "path")
    assert names(running, path="*" * 255) == ["red-1.png", "red-2.png", "blue.png"]


def test_a_pattern_of_folders_is_refused(running):
    answer = running.post("/v1/search", {"query": "200 0 0", "path": "*/hidden/*"})
    assert (answer.status, answer.json["error"]["param"]) == (400, "path")
    assert "folders are not told" in answer.json["error"]["message"]
