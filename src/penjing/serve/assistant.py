"""The support desk as a model among others: its conversations are those of `/v1/chat/completions`."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

from penjing.apps.assistant import Assistant, Reply, Talk, Tools, excerpt, open_desk
from penjing.data.chat import Message
from penjing.data.knowledge import read_knowledge

NAME = "assistant"
TASK = "assistant"
EXCERPT = 300
"""Letters of a passage that are shown beside an answer."""


class Guarded:
    """A runner that several threads use, one at a time."""

    def __init__(self, runner: Any, lock: threading.Lock) -> None:
        self._runner, self._lock = runner, lock

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._runner, name)
        if name == "generate":
            return partial(self._generate, found)
        if name == "count_tokens":  # no graph runs, so nobody is waited for
            return found
        return partial(self._call, found) if callable(found) else found

    def _call(self, function: Any, *args: Any, **kwargs: Any) -> Any:
        with self._lock:
            return function(*args, **kwargs)

    def _generate(self, function: Any, *args: Any, **kwargs: Any) -> Iterator[str]:
        with self._lock:
            yield from function(*args, **kwargs)


class DeskRunner:
    """Answers conversations from what a folder knows."""

    task = TASK

    def __init__(self, desk: Assistant) -> None:
        self._desk = desk
        self.settings: dict[str, Any] = {}
        self.sampling_rate_hz = getattr(desk.tools.hears, "sampling_rate_hz", 16000)

    def count_tokens(self, text: str) -> int:
        """Tokens of a text, of the model that writes; none where the desk quotes."""
        writer = self._desk.tools.writes
        return int(writer.count_tokens(text)) if writer is not None else 0

    def reply(self, messages: Sequence[Message], sound: Any = None, picture: Any = None) -> Reply:
        """Answer the last message; those before are what was said."""
        said = [message for message in messages[:-1] if message.role != "system"]
        talk = Talk(self._desk, [message.text for message in said if message.role == "user"], said)
        return talk.ask(messages[-1].text, sound, picture)


def open_assistant(knowledge: str, models: Sequence[Any]) -> DeskRunner:
    """A desk whose tools are the first models that can do what it needs; each is a `Served`."""

    def first(ability: str, task: str = "", modality: str = "") -> Any:
        able = [model for model in models if ability in model.abilities and task in ("", model.runner.task)]
        able = [one for one in able if not modality or modality in one.runner.modalities]
        return Guarded(able[0].runner, able[0].worker.lock) if able else None

    hears = first("transcribe", "speech-seq2seq") or first("transcribe")
    pictured = any(passage.pictures for passage in read_knowledge(knowledge))
    sees = (first("embed", "dual-encoder", modality="image") if pictured else None) or first("caption")
    tools = Tools(first("embed", "encoder"), first("chat"), hears, sees)
    return DeskRunner(open_desk(knowledge, tools))


def about(reply: Reply) -> dict[str, Any]:
    """What else there is to say of a reply: how sure it is, and the beginnings of the passages found, best first."""
    sources = [
        {"id": one.passage.id, "title": one.passage.title, "text": excerpt(one.passage, EXCERPT), "score": one.score}
        for one in reply.sources
    ]
    return {"heard": reply.heard, "handed_over": reply.handed_over, "confidence": reply.confidence,
            "quoted": reply.is_quoted, "note": reply.note, "sources": sources}  # fmt: skip


def told(reply: Reply) -> str:
    """A reply as one text: the answer, and below it what it is from."""
    if reply.handed_over:
        return reply.text
    return "\n".join([reply.text, "", *(f"[{place}] {one.passage.id}" for place, one in enumerate(reply.sources, 1))])
