"""Checks of JSON values against the types and limits that code relies on, put together from small ones.

A check takes a value and the name of its place in the document and raises `WrongValue`, which says what should be
there: `settings.audio.n_fft is [], it should be a whole number from 16 to 65,536`.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from typing import Any

Check = Callable[[Any, str], None]

MOST_SHOWN = 40
MOST_TEXT = 2**20
MOST_ENTRIES = 2**20
MOST_WHOLE = 2**31 - 1


class WrongValue(ValueError):
    """A value of another type, or beyond the limits, than what the document should hold at its place."""

    def __init__(self, value: Any, where: str, expected: str) -> None:
        shown = json.dumps(value, ensure_ascii=True, default=str)
        shown = shown if len(shown) <= MOST_SHOWN else shown[:MOST_SHOWN] + " …"
        super().__init__(f"{where} is {shown}, it should be {expected}")


def whole(least: int = 0, most: int = MOST_WHOLE) -> Check:
    """A whole number within bounds; true and false are none."""

    def check(value: Any, where: str) -> None:
        if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
            raise WrongValue(value, where, f"a whole number from {least:,} to {most:,}")

    return check


def number(least: float = -1e12, most: float = 1e12) -> Check:
    """A finite number within bounds."""

    def check(value: Any, where: str) -> None:
        right = isinstance(value, (int, float)) and not isinstance(value, bool)
        if not right or not (math.isfinite(value) and least <= value <= most):
            raise WrongValue(value, where, f"a number from {least:g} to {most:g}")

    return check


def text(most: int = MOST_TEXT) -> Check:
    """A string of bounded length."""

    def check(value: Any, where: str) -> None:
        if not isinstance(value, str) or len(value) > most:
            raise WrongValue(value, where, f"text of at most {most:,} characters")

    return check


def truth(value: Any, where: str) -> None:
    """Check for true or false."""
    if not isinstance(value, bool):
        raise WrongValue(value, where, "true or false")


def choice(*known: str | int) -> Check:
    """One of these strings or numbers."""

    def check(value: Any, where: str) -> None:
        if isinstance(value, bool) or not isinstance(value, (str, int)) or value not in known:
            raise WrongValue(value, where, f"one of {', '.join(map(str, known))}")

    return check


def nullable(inner: Check) -> Check:
    """Null, or what another check accepts."""

    def check(value: Any, where: str) -> None:
        if value is not None:
            inner(value, where)

    return check


def listed(inner: Check, least: int = 0, most: int = MOST_ENTRIES) -> Check:
    """A list whose length is bounded and whose every entry passes."""
    expected = f"a list of {least}" if least == most else f"a list of {least:,} to {most:,} entries"

    def check(value: Any, where: str) -> None:
        if not isinstance(value, list) or not least <= len(value) <= most:
            raise WrongValue(value, where, expected)
        for place, entry in enumerate(value):
            inner(entry, f"{where}[{place}]")

    return check


def table(inner: Check, most: int = MOST_ENTRIES) -> Check:
    """An object with any keys whose every value passes."""

    def check(value: Any, where: str) -> None:
        if not isinstance(value, Mapping) or len(value) > most:
            raise WrongValue(value, where, f"an object of at most {most:,} entries")
        for key, entry in value.items():
            inner(entry, f"{where}.{key}"[:100])

    return check


def fields(required: Mapping[str, Check], optional: Mapping[str, Check] | None = None) -> Check:
    """An object that has every required key; values of required and optional keys pass, other keys are ignored."""
    known = {**required, **(optional or {})}

    def check(value: Any, where: str) -> None:
        missing = [key for key in required if not isinstance(value, Mapping) or key not in value]
        if missing:
            raise WrongValue(value, where, f"an object with {', '.join(required)}")
        if not isinstance(value, Mapping):
            raise WrongValue(value, where, "an object")
        for key, inner in known.items():
            if key in value:
                inner(value[key], f"{where}.{key}")

    return check


def either(first: Check, second: Check) -> Check:
    """What one of two checks accepts; the second says what is wrong."""

    def check(value: Any, where: str) -> None:
        try:
            first(value, where)
        except WrongValue:
            second(value, where)

    return check
