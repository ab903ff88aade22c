"""What was made of files is remembered until they change, and of no files never."""

from __future__ import annotations

import os

import pytest

from penjing import stamps
from penjing.stamps import Memo

pytestmark = pytest.mark.shop


def test_files_are_read_once_until_they_change(tmp_path, monkeypatch):
    monkeypatch.setattr(stamps, "SETTLED_NS", -(10**18))  # the files were written just now
    one, other, memo, calls = tmp_path / "a", tmp_path / "b", Memo(), []
    one.write_text("1")
    other.write_text("2")

    def read() -> str:
        calls.append(1)
        return one.read_text() + other.read_text()

    assert [memo.get([one, other], read) for _ in range(2)] == ["12", "12"]
    assert len(calls) == 1
    other.write_text("33")
    os.utime(other)
    assert memo.get([one, other], read) == "133"
    assert memo.get([other], lambda: "other") == "other"


def test_what_is_young_or_made_of_nothing_is_made_again(tmp_path, monkeypatch):
    memo, path = Memo(), tmp_path / "a"
    path.write_text("1")
    monkeypatch.setattr(stamps, "SETTLED_NS", 10**18)
    assert [memo.get([path], lambda value=value: value) for value in ("a", "b")] == ["a", "b"]
    monkeypatch.setattr(stamps, "SETTLED_NS", -(10**18))
    assert [memo.get([], lambda value=value: value) for value in ("a", "b")] == ["a", "b"]
