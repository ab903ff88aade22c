"""`penjing assist`: one question, or a conversation on standard input."""

from __future__ import annotations

import io
import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import penjing
from penjing.apps.assistant import Assistant, Reply, Talk, Tools, open_desk
from penjing.apps.confidence import read_questions
from penjing.cli.output import fitted, say, say_json
from penjing.data.formats import media_of
from penjing.data.knowledge import knowledge_notes
from penjing.data.rows import names_media
from penjing.errors import DataError, LeftOut, UserError

SHORTEST = 20
"""Less of a passage says nothing."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What the command line asks for: artifacts by role, questions to learn from, how to show."""

    embeds: str | None
    writes: str | None
    hears: str | None
    sees: str | None
    questions: str | None
    engine: str
    threads: int | None
    json: bool

    def open(self, knowledge: str) -> Assistant:
        """The desk; an artifact of several roles is opened once."""
        opened: dict[str, Any] = {}

        def tool(path: str | None) -> Any:
            if path is None:
                return None
            if path not in opened:
                opened[path] = penjing.load(path, engine=self.engine, threads=self.threads, warm_up=False)
            return opened[path]

        asked = read_questions(self.questions) if self.questions else None
        tools = Tools(tool(self.embeds), tool(self.writes), tool(self.hears), tool(self.sees))
        return open_desk(knowledge, tools, asked)


def assist(knowledge: str, asked: list[str], wanted: Wanted) -> None:
    """Answer what is asked on the command line, in turn; else what comes on standard input, line by line."""
    talk = wanted.open(knowledge).talk()
    for note in knowledge_notes(knowledge):
        say(note)
    replies: list[dict[str, Any]] = []
    failed = 0
    for words in [asked] if asked else _lines():
        try:
            reply = reply_to(talk, words)
        except UserError as error:
            if asked:
                raise
            say(f"{error.message} ({error.hint})")
            replies.append({"asked": " ".join(words), "error": error.message})
            failed += 1
            continue
        replies.append(reply.as_json())
        if not wanted.json:
            _show(reply)
    document = {"replies": replies} if wanted.json else None
    if failed and not sys.stdin.isatty():
        said = f"{failed} of the questions could not be asked"
        raise LeftOut(said, hint="they are named above", document=document)
    if document is not None:
        say_json(document)


def reply_to(talk: Talk, words: list[str]) -> Reply:
    """Ask what was given: texts, and files of sounds and pictures."""
    files = [word for word in words if names_media(word)]
    missing = next((name for name in files if not Path(name).is_file()), None)
    if missing is not None:
        raise DataError(f"{missing} is not a file", hint="give a sound or a picture that is there")
    by_kind = {kind: [Path(name) for name in files if media_of(name) == kind] for kind in ("audio", "image")}
    if any(len(some) > 1 for some in by_kind.values()):
        raise DataError("one sound and one picture at a time", hint="ask about the others afterwards")
    text = " ".join(word for word in words if word not in files)
    sound, picture = (next(iter(by_kind[kind]), None) for kind in ("audio", "image"))
    return talk.ask(text, sound, picture)


def _lines() -> Iterator[list[str]]:
    """Lines of standard input, each a question or the path of a file; an empty one ends what a person types."""
    if sys.stdin.isatty():
        say("Ask; an empty line ends.")
    if isinstance(sys.stdin, io.TextIOWrapper):
        sys.stdin.reconfigure(errors="replace")
    for line in sys.stdin:
        if line.strip():
            yield [line.strip()]
        elif sys.stdin.isatty():
            return


def _show(reply: Reply) -> None:
    print(reply.text, flush=True)
    if reply.note:
        say(reply.note)
    for number, one in enumerate(() if reply.handed_over else reply.sources, 1):
        print(_source(f"  [{number}] {one.passage.id}", one.passage.text), flush=True)


def _source(name: str, text: str) -> str:
    """The name of a passage, and as much of it as the line holds."""
    free = shutil.get_terminal_size().columns - len(name) - 2
    return f"{name}: {fitted(text, free)}" if free >= SHORTEST else name
