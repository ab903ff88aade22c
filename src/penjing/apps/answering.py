"""An answer from passages: quoted, or written by a language model and kept only if the passages hold it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from penjing.apps.retrieval import Found, sentences, stems
from penjing.data.chat import Message
from penjing.runtimes.sampling import Style

SYSTEM = (
    "You work at a support desk. Answer the customer's question in one or two short sentences, only with what the "
    "notes say. Do not add anything that is not in the notes."
)
STYLE = Style(120, stop=("\n\n",))
HELD = 0.75
"""Of an answer's words so many must be in the passages or the question; a small model makes things up."""
MOST_QUOTED = 3
"""Sentences of a quoted answer."""


def quoted(question: str, found: Sequence[Found]) -> str:
    """The sentences of the best passage that share most with the question, in their order; a short passage whole."""
    parts = sentences(found[0].passage.text)
    if len(parts) <= MOST_QUOTED:
        return " ".join(parts)
    asked = {*stems(question), *stems(found[0].passage.title)}
    shared = [len(asked & {*stems(part)}) for part in parts]
    best = sorted(sorted(range(len(parts)), key=lambda place: -shared[place])[:MOST_QUOTED])
    return " ".join(parts[place] for place in best)


def written(writer: Any, question: str, found: Sequence[Found], said: Sequence[Message]) -> str | None:
    """What a language model answers from the passages; None where the passages do not hold what it says."""
    notes = "\n\n".join(one.passage.whole for one in found)
    asked = Message("user", f"Notes:\n{notes}\n\nQuestion: {question}")
    pieces = writer.generate([Message("system", SYSTEM), *said, asked], STYLE)
    text = "".join(pieces).strip()
    return text if text and held(text, question, found) >= HELD else None


def held(text: str, question: str, found: Sequence[Found]) -> float:
    """The share of a text's words that stand in the passages, or in the question."""
    words = {*stems(text)}
    known = {*stems(question), *(word for one in found for word in stems(one.passage.whole))}
    return len(words & known) / max(1, len(words))
