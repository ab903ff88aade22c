"""JSON that others wrote: limits on size and depth, and types with a clear error."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from penjing.bounded_json import MOST_DEPTH, UnreadableJson, parse_json, parse_object, read_json
from penjing.typed_json import WrongValue, choice, either, fields, listed, nullable, number, table, text, truth, whole

pytestmark = pytest.mark.shop


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "is not valid JSON"),
        (b"\xff", "is not valid JSON"),
        ("[" * 100_000, "is nested more than 100 levels deep"),
        ("[" * 500 + "]" * 500, "is nested more than 100 levels deep"),
        ('{"a":' * 101 + "1" + "}" * 101, "is nested more than 100 levels deep"),
        ("9" * 5000, "is not valid JSON"),
        ('["\\ud800"]', "holds half of a surrogate pair"),
        ('{"\\uD800": 1}', "holds half of a surrogate pair"),
        (" " * 101, "is larger than 0 MB"),
    ],
)
def test_what_is_refused(content: str | bytes, message: str) -> None:
    with pytest.raises(UnreadableJson, match=message):
        parse_json(content, most_bytes=100 if content == " " * 101 else 2**20)


def test_what_is_read() -> None:
    deep = "[" * MOST_DEPTH + "]" * MOST_DEPTH
    assert json.dumps(parse_json(deep)) == deep
    many = [{"a": [1]}] * 1000
    assert parse_json(json.dumps(many)) == many
    assert parse_json('["\\ud83d\\ude00"]') == ["😀"]
    with pytest.raises(UnreadableJson, match="is not a JSON object"):
        parse_object("[]")


def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(UnreadableJson, match="is not a file"):
        read_json(tmp_path / "pipe")


SIZE = either(fields({"side": whole(1, 10)}), whole(1, 10))


@pytest.mark.parametrize(
    ("check", "right", "wrong"),
    [
        (whole(1, 3), [1, 3], [0, 4, True, 1.0, "1", None, [], {}]),
        (number(0, 1), [0, 0.5, 1], [-1, 2, float("nan"), float("inf"), True, "0"]),
        (text(3), ["", "abc"], ["abcd", 1, None]),
        (truth, [True, False], [0, 1, "true", None]),
        (choice("a", 1), ["a", 1], ["b", True, [], None, {}]),
        (nullable(whole()), [None, 5], ["5"]),
        (listed(whole(), 1, 2), [[1], [1, 2]], [[], [1, 2, 3], ["1"], {"0": 1}, "12"]),
        (table(whole()), [{}, {"a": 1}], [{"a": "1"}, [], None]),
        (fields({"a": whole()}, {"b": text()}), [{"a": 1}, {"a": 1, "b": "", "c": []}], [{}, {"a": 1, "b": 1}, [], 1]),
        (SIZE, [5, {"side": 5}], [{}, {"side": 11}, "5"]),
    ],
)
def test_types(check, right, wrong) -> None:
    for value in right:
        assert check(value, "place") is None
    for value in wrong:
        with pytest.raises(WrongValue, match=r"^place.* is .*, it should be "):
            check(value, "place")


def test_what_is_wrong_is_shown_in_short() -> None:
    with pytest.raises(WrongValue) as caught:
        whole()("x" * 10_000, "settings.audio.n_fft")
    assert str(caught.value).startswith('settings.audio.n_fft is "xxx')
    assert len(str(caught.value)) < 200
