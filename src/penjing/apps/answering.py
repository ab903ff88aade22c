"""An answer from passages: quoted, or written by a language model and kept only if the passages hold it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from penjing.apps.retrieval import Found, sentences, stems
from penjing.data.chat import Message, takes_system
from penjing.errors import DataError, UserError
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


@dataclass(frozen=True, slots=True)
class Answer:
    """What is said, the passages that hold it, and whether and why it is quoted and not written by a language model."""

    text: str
    sources: tuple[Found, ...]
    is_quoted: bool
    note: str = ""


def answered(writer: Any, question: str, found: Sequence[Found], said: Sequence[Message]) -> Answer:
    """An answer from passages: written by the writer, if there is one and it keeps to what they hold, else quoted."""
    if writer is None:
        return Answer(quoted(question, found), (found[0],), True)
    try:
        text = written(writer, question, found, said)
        if text and held(text, question, found) >= HELD:
            return Answer(text, supporting(text, question, found), False)
        why = "wrote what the passages do not hold" if text else "wrote nothing"
    except UserError as error:
        why = f"gave no answer: {error.message}"
    return Answer(quoted(question, found), (found[0],), True, f"quoted: the language model {why}")


def quoted(question: str, found: Sequence[Found]) -> str:
    """The sentences of the best passage that share most with the question, in their order; a short passage whole."""
    parts = sentences(found[0].passage.text)
    if len(parts) <= MOST_QUOTED:
        return " ".join(parts)
    asked = {*stems(question), *stems(found[0].passage.title)}
    shared = [len(asked & {*stems(part)}) for part in parts]
    best = sorted(sorted(range(len(parts)), key=lambda place: -shared[place])[:MOST_QUOTED])
    return " ".join(parts[place] for place in best)


def written(writer: Any, question: str, found: Sequence[Found], said: Sequence[Message]) -> str:
    """What a language model says to a question, some passages and what was said before."""
    return "".join(writer.generate(prompt(writer, question, found, said), STYLE)).strip()


def prompt(writer: Any, question: str, found: Sequence[Found], said: Sequence[Message]) -> list[Message]:
    """What a writer is asked: of passages, best first, and of what was said before, as much as it can read.

    Texts that hold tokens of its own, which could speak for others, are left out; a question that does is a DataError.
    """
    writer.prompt_tokens([Message("user", question)])
    notes = [one.passage.whole for one in found if _is_plain(writer, one.passage.whole)]
    said = [] if any(not _is_plain(writer, one.text) for one in said) else said
    while True:
        told = "Notes:\n{}\n\nQuestion: {}".format("\n\n".join(notes), question)
        asked = [Message("system", SYSTEM), *said, Message("user", told)]
        if not takes_system(writer.settings["chat"]):
            asked = [*said, Message("user", f"{SYSTEM}\n\n{told}")]
        room = writer.context_tokens - len(writer.prompt_tokens(asked))
        if room >= STYLE.max_tokens and notes:
            return asked
        if len(notes) > 1:
            notes.pop()
        elif said:
            said = []
        elif notes and len(parts := sentences(notes[0])) > 1:
            notes = ["\n".join(parts[:-1])]
        else:
            raise DataError("the passages are longer than it reads, or hold tokens of its own", hint="cut them")


def _is_plain(writer: Any, text: str) -> bool:
    """Whether a text holds no token of the writer's own."""
    try:
        writer.prompt_tokens([Message("user", text)])
    except UserError:
        return False
    return True


def supporting(text: str, question: str, found: Sequence[Found]) -> tuple[Found, ...]:
    """The fewest passages that hold the words of an answer, best first; a passage that adds no word is no source.

    Words of the question do not count: every passage that was found has some of them. Greedy set cover.

    Args:
        text: the answer.
        question: what was asked.
        found: passages, best first; at least one.
    """
    words = {*stems(text)} - {*stems(question)}
    holds = [words & {*stems(one.passage.whole)} for one in found]
    cited: list[int] = []
    covered: set[str] = set()
    while True:
        best = max(range(len(found)), key=lambda place: (len(holds[place] - covered), -place))
        if not holds[best] - covered:
            break
        cited.append(best)
        covered |= holds[best]
    return tuple(found[place] for place in sorted(cited)) or (found[0],)


def held(text: str, question: str, found: Sequence[Found]) -> float:
    """The share of a text's words that stand in the passages, or in the question."""
    words = {*stems(text)}
    known = {*stems(question), *(word for one in found for word in stems(one.passage.whole))}
    return len(words & known) / max(1, len(words))
