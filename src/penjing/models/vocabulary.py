"""A tokenizer with fewer tokens: which must stay, and its tokenizer.json rewritten for those that do.

Whatever text was made of kept tokens alone is cut into the very same ones afterwards: BPE applies merges by their rank,
and all that lead to a kept token stay; WordPiece takes the longest piece, Unigram the likeliest path, and neither
changes for fewer rivals. Any other text is cut into shorter tokens: the alphabet stays.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from penjing.errors import ModelError

BYTE = re.compile(r"<0x[0-9A-Fa-f]{2}>")
BYTES = 256
KINDS = ("BPE", "WordPiece", "Unigram", "WordLevel")
Document = Mapping[str, Any]
"""The content of a tokenizer.json."""
Numbers = Mapping[int, int]
"""Number of a kept token before -> its number now."""


def pieces_of(document: Document) -> dict[str, int]:
    """Number of every piece that texts are cut into; added tokens are not among them unless the file has them twice."""
    model = document["model"]
    if model.get("type") not in KINDS:
        raise ModelError(f"a tokenizer of type {model.get('type')!r} cannot be trimmed", hint=f"known: {KINDS}")
    if isinstance(model["vocab"], Mapping):
        return dict(model["vocab"])
    return {piece: number for number, (piece, _) in enumerate(model["vocab"])}


def added(document: Document) -> dict[str, int]:
    """Number of every token that is found in a text before it is cut: special ones and others."""
    return {token["content"]: int(token["id"]) for token in document.get("added_tokens") or ()}


def closure(document: Document, wanted: Iterable[int]) -> set[int]:
    """The wanted tokens with all that must stay for their sake, and for the sake of any text."""
    pieces = pieces_of(document)
    kept = {*wanted, *added(document).values(), *_alphabet(document["model"], pieces)}
    parts = _parts(document["model"])
    names = {number: piece for piece, number in pieces.items()}
    waiting = list(kept)
    while waiting:
        for part in parts.get(names.get(waiting.pop(), ""), ()):
            number = pieces.get(part)
            if number is not None and number not in kept:
                kept.add(number)
                waiting.append(number)
    return kept


def _alphabet(model: Document, pieces: Mapping[str, int]) -> set[int]:
    """Pieces that any text can be spelled by, and the one for what cannot be."""
    unknown = pieces.get(str(model.get("unk_token")))
    kept = set() if unknown is None else {unknown}
    if model["type"] == "WordLevel":
        return kept
    bytewise = {number for piece, number in pieces.items() if BYTE.fullmatch(piece)}
    spelled = bool(model.get("byte_fallback")) and len(bytewise) == BYTES
    kept |= bytewise
    if model["type"] == "BPE":
        made = _parts(model)
        return kept if spelled else kept | {number for piece, number in pieces.items() if piece not in made}
    if model["type"] == "Unigram":
        scores = [score for _, score in model["vocab"]]
        # What is unknown scores a fixed step below the least likely piece, which therefore stays.
        kept |= {scores.index(min(scores)), *([] if model.get("unk_id") is None else [int(model["unk_id"])])}
    return kept if spelled else kept | _characters(pieces, str(model.get("continuing_subword_prefix") or ""))


def _characters(pieces: Mapping[str, int], prefix: str) -> set[int]:
    """Pieces of one character, and those with a character that has no piece of its own where it stands."""
    bare = {piece: piece.removeprefix(prefix) if prefix else piece for piece in pieces}
    kept = {number for piece, number in pieces.items() if len(bare[piece]) == 1}
    for piece, number in pieces.items():
        inside = bool(prefix) and piece.startswith(prefix)
        spelled = [prefix + one if inside or place else one for place, one in enumerate(bare[piece])]
        if not all(part in pieces for part in spelled):
            kept.add(number)
    return kept


def _pair(merge: str | Sequence[str]) -> tuple[str, str]:
    first, second = merge.split(" ", 1) if isinstance(merge, str) else merge
    return first, second


def _merged(model: Document, first: str, second: str) -> str:
    return first + second.removeprefix(str(model.get("continuing_subword_prefix") or ""))


def _parts(model: Document) -> dict[str, list[str]]:
    """What merges make a piece of, by the piece; of other tokenizers nothing."""
    found: dict[str, list[str]] = {}
    for first, second in map(_pair, model.get("merges") or ()):
        found.setdefault(_merged(model, first, second), []).extend((first, second))
    return found


def trimmed(document: Document, numbers: Numbers) -> dict[str, Any]:
    """The tokenizer.json of the kept tokens, under their new numbers."""
    found: dict[str, Any] = copy.deepcopy(dict(document))
    model, pieces = found["model"], pieces_of(document)
    kept = {piece: numbers[number] for piece, number in pieces.items() if number in numbers}
    if isinstance(model["vocab"], dict):
        model["vocab"] = kept
    else:
        model["vocab"] = [entry for number, entry in enumerate(model["vocab"]) if number in numbers]
        if model.get("unk_id") is not None:
            model["unk_id"] = numbers[model["unk_id"]]
    if model.get("merges"):
        model["merges"] = [
            merge
            for merge in model["merges"]
            if kept.keys() >= {*_pair(merge)} and _merged(model, *_pair(merge)) in kept
        ]
    for token in found.get("added_tokens") or ():
        token["id"] = numbers[token["id"]]
    if found.get("padding"):
        found["padding"]["pad_id"] = numbers.get(found["padding"]["pad_id"], 0)
    _renumber_template(found.get("post_processor"), numbers)
    return found


def _renumber_template(processor: Any, numbers: Numbers) -> None:
    """What is put around a text names its tokens by number, too; in place."""
    if not processor:
        return
    for inner in processor.get("processors") or ():
        _renumber_template(inner, numbers)
    for end in ("sep", "cls"):
        if processor.get(end):
            processor[end] = [processor[end][0], numbers[processor[end][1]]]
    if isinstance(processor.get("special_tokens"), dict):
        for token in processor["special_tokens"].values():
            token["ids"] = [numbers[number] for number in token["ids"]]
