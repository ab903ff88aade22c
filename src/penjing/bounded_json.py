"""JSON that somebody else wrote, read with limits on its size and depth. Every JSON file of penjing is read here.

Python's own reader has neither: 100,000 opening brackets raise RecursionError, which is no ValueError, and a document
of a few hundred levels is read and then fails wherever it is walked through. The grammar is that of RFC 8259.
"""

from __future__ import annotations

import json
import stat
from collections.abc import Iterable
from pathlib import Path
from typing import Any

MOST_BYTES = 64 * 2**20
"""Configurations have kilobytes, the largest indexes and tokenizers of published checkpoints some tens of megabytes."""
MOST_DEPTH = 100
"""Levels of objects and lists; configurations have fewer than ten."""


class UnreadableJson(ValueError):
    """Text that is not JSON, or is more than the limits allow; the message goes on from the name of the file."""


def parse_json(text: str | bytes, *, most_bytes: int = MOST_BYTES) -> Any:
    """Parse a JSON document.

    Args:
        text: the document; bytes are UTF-8.
        most_bytes: the largest document that is parsed.

    Raises:
        UnreadableJson: not UTF-8, not JSON, too large, too deep, or a string that no UTF-8 file can hold.
    """
    if len(text) > most_bytes:
        raise UnreadableJson(f"is larger than {most_bytes // 2**20} MB")
    try:
        text = text.decode("utf8") if isinstance(text, bytes) else text
        document = json.loads(text)
    except RecursionError as error:
        raise _too_deep() from error
    except ValueError as error:
        raise UnreadableJson("is not valid JSON") from error
    if text.count("{") + text.count("[") > MOST_DEPTH and _depth_exceeds(document, MOST_DEPTH):
        raise _too_deep()
    if "\\ud" in text or "\\uD" in text:
        _refuse_lone_surrogates(document)
    return document


def read_json(path: Path, *, most_bytes: int = MOST_BYTES) -> Any:
    """Read a JSON file; see `parse_json`. What is no regular file (a pipe, a device) is unreadable, not waited for.

    Raises:
        UnreadableJson: see `parse_json`.
        OSError: there is no such file, or it may not be read.
    """
    if not stat.S_ISREG(path.stat().st_mode):
        raise UnreadableJson("is not a file")
    with path.open("rb") as stream:
        return parse_json(stream.read(most_bytes + 1), most_bytes=most_bytes)


def parse_object(text: str | bytes, *, most_bytes: int = MOST_BYTES) -> dict[str, Any]:
    """Parse a document that must be a JSON object; see `parse_json`."""
    return _object(parse_json(text, most_bytes=most_bytes))


def read_object(path: Path, *, most_bytes: int = MOST_BYTES) -> dict[str, Any]:
    """Read a file that must hold a JSON object; see `read_json`."""
    return _object(read_json(path, most_bytes=most_bytes))


def _object(document: Any) -> dict[str, Any]:
    if not isinstance(document, dict):
        raise UnreadableJson("is not a JSON object")
    return document


def _too_deep() -> UnreadableJson:
    return UnreadableJson(f"is nested more than {MOST_DEPTH} levels deep")


def _inside(container: Any) -> Iterable[Any]:
    """What an object or a list holds directly."""
    return container.values() if isinstance(container, dict) else container


def _depth_exceeds(document: Any, levels: int) -> bool:
    """Whether objects and lists are nested deeper than this; level by level, without recursion."""
    layer = [document] if isinstance(document, (dict, list)) else []
    for _ in range(levels):
        layer = [inner for container in layer for inner in _inside(container) if isinstance(inner, (dict, list))]
        if not layer:
            return False
    return True


def _refuse_lone_surrogates(document: Any) -> None:
    """Half of a pair of UTF-16 has no UTF-8: it would fail where it is printed or hashed."""
    waiting = [document]
    while waiting:
        value = waiting.pop()
        if isinstance(value, dict):
            waiting += [*value, *value.values()]
        elif isinstance(value, list):
            waiting += value
        elif isinstance(value, str):
            try:
                value.encode("utf8")
            except UnicodeEncodeError as error:
                raise UnreadableJson("holds half of a surrogate pair") from error
