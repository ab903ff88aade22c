"""A support desk: a customer writes, speaks or shows a picture; what is known is found, cited and answered from.

Where nothing that is known answers well enough, it says so and hands over to a person.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from penjing.apps.answering import answered
from penjing.apps.confidence import Asked, Confidence, learn
from penjing.apps.recognition import Recognizer, Seen
from penjing.apps.retrieval import Evidence, Found, Retriever, sentences, stems
from penjing.data.chat import Message
from penjing.data.knowledge import Passage, read_knowledge
from penjing.errors import ArtifactError, DataError

FOLLOWS = re.compile(r"(and|or|but|also|then|what about|how about)\b", re.IGNORECASE)
"""How a question begins that may be about what was said before; one of a single word may be, too."""
REMEMBERED = 2
"""Questions and answers that a writer is told again."""
NOT_KNOWN = "I have found nothing that answers this, so I hand you over to a person."


@dataclass(frozen=True, slots=True)
class Tools:
    """Models of the desk, each of any artifact of its role; none is needed.

    `embeds` texts, `writes` in conversations, `hears` speech, `sees` pictures: compares them with those that the
    knowledge shows, or captions them.
    """

    embeds: Any = None
    writes: Any = None
    hears: Any = None
    sees: Any = None

    def check(self) -> None:
        """Refuse models of another role."""
        for name, model, able in (
            ("embeds", self.embeds, hasattr(self.embeds, "embed_read")),
            ("writes", self.writes, hasattr(self.writes, "generate")),
            ("hears", self.hears, hasattr(self.hears, "transcribe")),
            ("sees", self.sees, hasattr(self.sees, "caption") or self.compares),
        ):
            if model is not None and not able:
                raise ArtifactError(f"the model that {name} does {model.task}", hint="give an artifact of that role")
        if self.embeds is not None and "text" not in self.embeds.modalities:
            raise ArtifactError("the model that embeds reads no texts", hint="give an encoder of texts")
        if self.writes is not None and not self.writes.settings.get("chat"):
            raise ArtifactError("the model that writes has no chat template", hint="give one that was taught to chat")

    @property
    def compares(self) -> bool:
        """Whether pictures can be compared."""
        return "image" in getattr(self.sees, "modalities", ()) and hasattr(self.sees, "embed_read")


@dataclass(frozen=True, slots=True)
class Reply:
    """What the desk says. `heard` is what was asked, as it was understood; `confidence` that there is an answer.

    `sources` are the passages that the answer is from, and nothing else that was found; where it is handed over,
    the passage that a picture stands for, if one was shown.
    `note` says why an answer is quoted that a language model should have written.
    """

    heard: str
    text: str
    handed_over: bool
    confidence: float
    sources: tuple[Found, ...]
    is_quoted: bool
    note: str = ""

    def as_json(self) -> dict[str, Any]:
        """Return a plain dict."""
        sources = [
            {"id": one.passage.id, "file": one.passage.file, "title": one.passage.title, "text": one.passage.text,
             "score": one.score}
            for one in self.sources
        ]  # fmt: skip
        return {"heard": self.heard, "text": self.text, "handed_over": self.handed_over, "quoted": self.is_quoted,
                "note": self.note, "confidence": self.confidence, "sources": sources}  # fmt: skip


@dataclass(eq=False, slots=True)
class Assistant:
    """A desk with what it knows. One conversation is a `Talk`."""

    retriever: Retriever
    confidence: Confidence
    tools: Tools
    recognizer: Recognizer | None = None

    def talk(self) -> Talk:
        """Begin a conversation."""
        return Talk(self)


@dataclass(eq=False, slots=True)
class Talk:
    """A conversation: what was asked and answered so far is remembered."""

    desk: Assistant
    asked: list[str] = field(default_factory=list)
    said: list[Message] = field(default_factory=list)

    def ask(self, question: str = "", sound: Any = None, picture: Any = None) -> Reply:
        """Answer what is written, spoken or shown; of several, all of it together."""
        asked = " ".join(filter(None, (question.strip(), self._spoken(sound))))
        if not asked and sound is not None and picture is None:
            raise DataError("no speech was heard", hint="speak again, closer to the microphone, or write the question")
        if not asked and picture is None:
            raise DataError("nothing was asked", hint="write a question, or give a sound or a picture")
        seen = self._recognized(picture)
        heard = " ".join(filter(None, (asked, _called(seen.passage) if seen else self._captioned(picture))))
        if seen is not None and not asked:
            return self._answered(heard, self._about(seen), seen.chance)
        evidence, sure = self._found(heard)
        if sure < self.desk.confidence.threshold:
            self._remember(heard, NOT_KNOWN)
            shown = () if seen is None else self._about(seen)[:1]
            return Reply(heard, NOT_KNOWN, True, sure, shown, False)
        return self._answered(heard, evidence.found, sure)

    def _answered(self, heard: str, found: tuple[Found, ...], sure: float) -> Reply:
        """Answer from passages that are held to know it."""
        answer = answered(self.desk.tools.writes, heard, found, self.said[-2 * REMEMBERED :])
        self._remember(heard, answer.text)
        return Reply(heard, answer.text, False, sure, answer.sources, answer.is_quoted, answer.note)

    def _spoken(self, sound: Any) -> str:
        if sound is None:
            return ""
        if self.desk.tools.hears is None:
            raise DataError("this desk does not hear", hint="give --hears, an artifact that transcribes")
        return str(self.desk.tools.hears.transcribe(sound).text)

    def _recognized(self, picture: Any) -> Seen | None:
        """Which passage a picture stands for."""
        if picture is None:
            return None
        if self.desk.tools.sees is None:
            hint = "give --sees, an artifact that compares or captions pictures"
            raise DataError("this desk does not see", hint=hint)
        return None if self.desk.recognizer is None else self.desk.recognizer.find(picture)

    def _captioned(self, picture: Any) -> str:
        """What a picture shows that no passage does; nothing, where the model only compares."""
        if picture is None or not hasattr(self.desk.tools.sees, "caption"):
            return ""
        return str(self.desk.tools.sees.caption(picture))

    def _about(self, seen: Seen) -> tuple[Found, ...]:
        """The passage that a picture stands for, then what is found by its name."""
        rest = self.desk.retriever.find(_called(seen.passage)).found
        others = [one for one in rest if one.passage.id != seen.passage.id]
        return (Found(seen.passage, seen.cosine, seen.cosine, 0.0), *others[: len(rest) - 1])

    def _found(self, heard: str) -> tuple[Evidence, float]:
        """Passages, and how sure they answer; a question that may follow is also asked behind the one before.

        Behind it nearly anything is close to what was answered before, so a passage must have all that is new.
        """
        found = [self.desk.retriever.find(heard)]
        opening = FOLLOWS.match(heard)
        new = {*stems(heard[opening.end() :] if opening else heard)}
        if self.asked and new and (opening or len(new) == 1):
            behind = self.desk.retriever.find(f"{self.asked[-1]} {heard}")
            if behind.found and new <= {*stems(behind.found[0].passage.whole)}:
                found.append(behind)
        sure = [self.desk.confidence.of(one.signs) for one in found]
        best = max(range(len(found)), key=lambda place: sure[place])
        return found[best], sure[best]

    def _remember(self, heard: str, answer: str) -> None:
        self.asked.append(heard)
        self.said += [Message("user", heard), Message("assistant", answer)]


def excerpt(passage: Passage, letters: int) -> str:
    """The beginning of a passage in one line."""
    line = " ".join(passage.text.split())
    return line if len(line) <= letters else f"{line[: letters - 1].rstrip()}…"


def _called(passage: Passage) -> str:
    """What a passage is about, in few words."""
    return passage.title or sentences(passage.text)[0]


def open_desk(knowledge: str | Path, tools: Tools, questions: Sequence[Asked] | None = None) -> Assistant:
    """A desk that knows a folder. How sure it must be is learned from questions about it, or from the built-in ones."""
    tools.check()
    passages: list[Passage] = read_knowledge(knowledge)
    retriever = Retriever(passages, tools.embeds)
    confidence = learn(tools.embeds, questions, retriever if questions is not None else None)
    return Assistant(retriever, confidence, tools, _recognizer(knowledge, passages, tools))


def _recognizer(knowledge: str | Path, passages: Sequence[Passage], tools: Tools) -> Recognizer | None:
    """Who knows the pictures of the knowledge, where it shows some and they can be compared."""
    if tools.compares and any(passage.pictures for passage in passages):
        return Recognizer(knowledge, passages, tools.sees)
    if tools.sees is not None and not hasattr(tools.sees, "caption"):
        hint = "show some (![name](file.png), or a column `picture`), or give an artifact that captions"
        raise DataError("the model that sees compares pictures, and the knowledge shows none", hint=hint)
    return None
