"""`/v1/chat/completions`: conversations with a language model, questions about a picture, at once or piece by piece."""

from __future__ import annotations

import secrets
import time
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import StreamingResponse

from penjing.apps.assistant import Reply
from penjing.apps.look import trimmed
from penjing.data.chat import Message
from penjing.errors import UserError
from penjing.runtimes.language import check_prompt
from penjing.runtimes.pieces import Ending
from penjing.runtimes.sampling import PLAIN, Sampling, Style
from penjing.serve.assistant import about, told
from penjing.serve.budget import Load
from penjing.serve.desk import Desk
from penjing.serve.limits import Limits
from penjing.serve.media import decoded, from_base64, picture, samples
from penjing.serve.options import check_chat
from penjing.serve.refusals import Refusal, checked, mistaken, wrong_model
from penjing.serve.shelf import Served
from penjing.serve.wire import Chat, Document, Said, event, texts_of


@dataclass(frozen=True, slots=True)
class Heard:
    """What a conversation holds: its messages as texts, pictures as bytes, sounds as bytes.

    So many of the pictures and of the sounds were `before` the last message. The first picture is in the message number
    `shown_at`.
    """

    messages: list[Message]
    pictures: list[bytes] = field(default_factory=list)
    sounds: list[bytes] = field(default_factory=list)
    before: tuple[int, int] = (0, 0)
    shown_at: int | None = None


@dataclass(slots=True)
class Outcome:
    """What is known of an answer once it is there: whether it was cut, and what a desk has to say about its own."""

    was_cut: bool = False
    reply: Reply | None = None

    def watched(self, begin: Callable[[Outcome], Iterable[str]]) -> Iterator[str]:
        """The pieces of an answer."""
        ending = Ending(begin(self))
        yield from ending
        self.was_cut = ending.was_cut


def routes(desk: Desk) -> APIRouter:
    """The route."""
    router = APIRouter()

    @router.post("/v1/chat/completions", response_model=None)
    async def chat(asked: Chat, request: Request) -> StreamingResponse | dict[str, Any]:
        """Answer."""
        served = desk.shelf[asked.model]
        check_chat(asked)
        load: Load = request.state.load
        heard = heard_in(asked.messages)
        check_letters(heard.messages, desk.limits)
        begin = await desk.aside(lambda: answering(served, heard, asked, load))
        read_tokens = await desk.aside(lambda: tokens_read(served, heard))
        outcome = Outcome()
        turn = Turn(served, asked, outcome, read_tokens)
        pieces = checked(served.worker.stream(lambda: outcome.watched(begin)), "messages")
        if not asked.stream:
            return turn.whole("".join([piece async for piece in pieces]))
        first = await anext(pieces, None)  # what is wrong is told by a status, before anything is sent
        return StreamingResponse(turn.events(first, pieces), media_type="text/event-stream")

    return router


def heard_in(messages: list[Said]) -> Heard:
    """Take messages apart."""
    found = Heard([])
    for said in messages:
        found = replace(found, before=(len(found.pictures), len(found.sounds)))
        role = "system" if said.role == "developer" else said.role
        if said.content is None or isinstance(said.content, str):
            found.messages.append(Message(role, said.content or ""))
            continue
        texts = []
        for part in said.content:
            if part.type == "text":
                texts.append(part.text or "")
            elif part.image_url is not None:
                kind, content = decoded(part.image_url.url, "messages")
                if kind == "image" and found.shown_at is None:
                    found = replace(found, shown_at=len(found.messages))
                (found.pictures if kind == "image" else found.sounds).append(content)
            elif part.input_audio is not None:
                found.sounds.append(from_base64(part.input_audio.data, "messages"))
            else:
                raise Refusal(400, f"a part of type {part.type} without its content", param="messages")
        found.messages.append(Message(role, "\n".join(texts)))
    return found


def check_letters(messages: Sequence[Message], limits: Limits) -> None:
    """Refuse (413) a conversation that is longer than any model here reads, before a tokenizer sees it."""
    letters = sum(len(message.text) for message in messages)
    if letters > limits.chat_letters:
        message = f"the conversation has {letters:,} letters; {limits.chat_letters:,} are read at most"
        raise Refusal(413, message, code="too_large", param="messages")


def tokens_read(served: Served, heard: Heard) -> int:
    """Tokens of the text that a model is asked; a conversation that its context has no room for is refused (400).

    Pictures and sounds are not text. A model that counts none, as a desk that quotes, reads none.
    """
    runner = served.runner
    if "chat" not in served.abilities or heard.pictures:
        count = getattr(runner, "count_tokens", None)
        return sum(count(message.text) for message in heard.messages) if count is not None else 0
    try:
        tokens = runner.prompt_tokens(heard.messages)
        context_tokens = getattr(runner, "context_tokens", None)
        if context_tokens is not None:
            check_prompt(tokens, context_tokens)
    except UserError as error:
        raise mistaken(error, "messages") from error
    return len(tokens)


def answering(served: Served, heard: Heard, asked: Chat, load: Load) -> Callable[[Outcome], Iterable[str]]:
    """What begins to answer, once the model is free."""
    runner, can = served.runner, served.abilities
    try:
        sampling = Sampling(asked.temperature or 0.0, asked.top_p or 1.0, asked.seed)
        style = Style(_most(asked, load.limits, PLAIN.max_tokens), sampling, texts_of(asked.stop))
        if "assist" in can:
            return _replying(served, heard, load)
        if heard.pictures:
            if "ask" not in can and "caption" not in can:
                raise wrong_model(served.name, "see")
            before = said_before(served, heard)
            seen, question = picture(heard.pictures[0], load), heard.messages[-1].text.strip()
            if heard.sounds and not question:
                if "ask" not in can or "transcribe" not in can:
                    raise wrong_model(served.name, "answer spoken questions")
                spoken = samples(heard.sounds[0], runner.sampling_rate_hz, load, "messages")
                return lambda _: trimmed(runner.asking(seen, spoken, style))
            if not question:
                if "caption" not in can:
                    raise Refusal(400, f"{served.name} writes no captions: ask about the picture", param="messages")
                return lambda _: trimmed(runner.captioning(seen, style))
            if "ask" not in can:
                raise wrong_model(served.name, "answer questions")
            turns = {"before": before} if before else {}
            return lambda _: trimmed(runner.asking(seen, question, style, **turns))
        if heard.sounds:
            raise Refusal(400, "sounds are heard beside a picture, or at /v1/audio/transcriptions", param="messages")
        if "chat" not in can:
            raise wrong_model(served.name, "chat")
    except UserError as error:
        raise mistaken(error, "messages") from error
    return lambda _: runner.generate(heard.messages, replace(style, max_tokens=_most(asked, load.limits)))


def said_before(served: Served, heard: Heard) -> list[Message]:
    """Questions about a picture, and answers, before the last question; what a model cannot go on from is refused."""
    *before, last = heard.messages
    if len(heard.pictures) > 1 or (before and not getattr(served.runner, "takes_turns", False)):
        raise Refusal(400, "one picture and one question about it are answered", param="messages")
    roles = [message.role for message in before]
    if heard.shown_at != 0 or last.role != "user" or roles != ["user", "assistant"] * (len(before) // 2):
        reason = "a picture stands in the first of the user's messages; questions and answers follow in turns"
        raise Refusal(400, reason, param="messages")
    return before


def _replying(served: Served, heard: Heard, load: Load) -> Callable[[Outcome], Iterable[str]]:
    """A desk's answer to the last message, and to what is shown or spoken in that one."""
    shown, spoken = heard.pictures[heard.before[0] :], heard.sounds[heard.before[1] :]
    if max(len(shown), len(spoken)) > 1:
        raise Refusal(400, "one picture and one sound at a time are answered", param="messages")
    seen = picture(shown[0], load) if shown else None
    said = samples(spoken[0], served.runner.sampling_rate_hz, load, "messages") if spoken else None

    def reply(outcome: Outcome) -> Iterator[str]:
        outcome.reply = served.runner.reply(heard.messages, said, seen)
        yield told(outcome.reply)

    return reply


def _most(asked: Chat, limits: Limits, unasked: int | None = None) -> int:
    """Most tokens to write: what is asked for, else so many, and never more than the server grants."""
    granted = limits.tokens
    return min(asked.max_completion_tokens or asked.max_tokens or unasked or granted, granted)


@dataclass(frozen=True, slots=True)
class Turn:
    """An answer as it is told, at once or in events."""

    served: Served
    asked: Chat
    outcome: Outcome
    read_tokens: int
    id: str = field(default_factory=lambda: f"chatcmpl-{secrets.token_hex(12)}")
    created: int = field(default_factory=lambda: int(time.time()))

    def whole(self, text: str) -> Document:
        """The document of an answer."""
        message = {"role": "assistant", "content": text}
        choice = {"index": 0, "message": message, "finish_reason": self._reason}
        return {**self._head("chat.completion"), "choices": [choice], "usage": self._usage(text), **self._about}

    async def events(self, first: str | None, rest: AsyncIterator[str]) -> AsyncIterator[str]:
        """Server-sent events, as the OpenAI API has them."""
        yield self._event({"role": "assistant", "content": ""})
        text = first or ""
        try:
            if first is not None:
                yield self._event({"content": first})
            async for piece in rest:
                text += piece
                yield self._event({"content": piece})
        except Refusal as refusal:
            yield event(refusal.as_json())
            return
        yield self._event({}, self._reason)
        if self.asked.stream_options is not None and self.asked.stream_options.include_usage:
            yield event({**self._head("chat.completion.chunk"), "choices": [], "usage": self._usage(text)})
        yield "data: [DONE]\n\n"

    def _event(self, delta: dict[str, Any], reason: str | None = None) -> str:
        choice = {"index": 0, "delta": delta, "finish_reason": reason}
        return event({**self._head("chat.completion.chunk"), "choices": [choice], **(self._about if reason else {})})

    def _head(self, kind: str) -> Document:
        return {"id": self.id, "object": kind, "created": self.created, "model": self.asked.model}

    @property
    def _reason(self) -> str:
        """Whether the answer ended, or was cut."""
        return "length" if self.outcome.was_cut else "stop"

    @property
    def _about(self) -> Document:
        """What a desk says about its answer; it is known when the answer is."""
        return {"penjing": about(self.outcome.reply)} if self.outcome.reply is not None else {}

    def _usage(self, text: str) -> Document:
        """Tokens read and written; none are written where no model counts them, as by a desk that quotes."""
        count = getattr(self.served.runner, "count_tokens", None)
        written = count(text) if count is not None else 0
        return {
            "prompt_tokens": self.read_tokens,
            "completion_tokens": written,
            "total_tokens": self.read_tokens + written,
        }
