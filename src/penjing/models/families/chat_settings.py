"""A chat template as pieces: what it writes between messages, recorded by letting it write marks."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from penjing.data.chat import BEGIN, END, ROLES, Message, pair, written_out
from penjing.errors import DataError
from penjing.models.checkpoint import read_json
from penjing.models.front_ends import has_tokenizer, open_fast
from penjing.models.network import quiet

IN_TURNS = (pair(BEGIN, "user"), pair("user", "assistant"), pair("assistant", "user"), pair("user", END))
"""Pieces that every template must have that is recorded at all."""
OPENED = (*IN_TURNS, pair(BEGIN, "system"), pair("system", "user"))
PROVEN_MESSAGES = 3
"""All conversations of so many messages that the pieces allow are compared with what the template writes."""
LONG = ("user", "assistant") * 3 + ("user",)


def chat_template(folder: Path, tokenizer: Any) -> str | None:
    """The chat template of a checkpoint, from whichever of its files holds it."""
    if (folder / "chat_template.jinja").is_file():
        return (folder / "chat_template.jinja").read_text(encoding="utf8")
    for name in ("chat_template.json", "processor_config.json"):
        found = read_json(folder / name).get("chat_template") if (folder / name).is_file() else None
        if isinstance(found, str):
            return found
    return tokenizer.chat_template if isinstance(tokenizer.chat_template, str) else None


def chat_settings(folder: Path | None) -> dict[str, Any] | None:
    """What `penjing.data.chat` reads; None where there is no template, or one that pieces cannot tell.

    A template may look further back than to the message before. Its pieces are taken only if every short conversation
    is written as they say; if not, those of conversations in turns, with a system message first or without.
    """
    if folder is None or not has_tokenizer(folder):
        return None
    tokenizer = open_fast(folder)
    text = chat_template(folder, tokenizer)
    if text is None:
        return None
    template = Template(tokenizer, text)
    recorded = _recorded(template)
    for keys in (tuple(recorded), OPENED, IN_TURNS):
        pieces = {key: recorded[key] for key in keys if key in recorded}
        if set(IN_TURNS) <= set(pieces) and _tells(pieces, template):
            begins = str(tokenizer.bos_token or "")
            special = not (begins and pieces[pair(BEGIN, "user")].startswith(begins))
            return {"pieces": pieces, "strip": template.stripped_roles(), "special": special}
    return None


class Template:
    """Writes conversations whose messages are marks."""

    def __init__(self, tokenizer: Any, text: str) -> None:
        self._tokenizer, self._text = tokenizer, text

    def write(self, messages: Sequence[Message]) -> str | None:
        """What the template writes up to where the assistant speaks; None where it refuses.

        A last message of the assistant is left open.
        """
        said = [{"role": message.role, "content": message.text} for message in messages]
        goes_on = messages[-1].role == "assistant"
        try:
            with quiet():
                text: str = self._tokenizer.apply_chat_template(
                    said,
                    chat_template=self._text,
                    tokenize=False,
                    add_generation_prompt=not goes_on,
                    continue_final_message=goes_on,
                )
        except Exception:  # a template raises what it likes of roles that it does not know
            return None
        return text

    def parts(self, roles: Sequence[str]) -> list[str] | None:
        """What stands before, between and behind the messages of a conversation; None where one is not written once."""
        messages = marked(roles)
        rest = self.write(messages)
        if rest is None:
            return None
        parts: list[str] = []
        for message in messages:
            if rest.count(message.text) != 1:
                return None
            before, _, rest = rest.partition(message.text)
            parts.append(before)
        return [*parts, rest]

    def stripped_roles(self) -> list[str]:
        """Roles whose messages lose the spaces around them."""
        stripped = []
        for role, path in (("system", ()), ("user", ()), ("assistant", ("user",))):
            *before, last = marked([*path, role])
            text = self.write([*before, Message(role, f" {last.text} "), *marked(["user"])[: role != "user"]])
            if text is not None and last.text in text and f" {last.text} " not in text:
                stripped.append(role)
        return stripped


def marked(roles: Sequence[str]) -> list[Message]:
    """A conversation whose texts are of letters that no template and no text has."""
    return [Message(role, f"\ue000{place}{role}\ue001") for place, role in enumerate(roles)]


def _recorded(template: Template) -> dict[str, str]:
    """The piece of every pair of roles, each from the shortest conversation that the template writes."""
    recorded: dict[str, str] = {}
    paths: list[tuple[str, ...]] = [()]
    reached: set[str] = set()
    for path in paths:  # grows while it is read: shortest first
        for role in ROLES:
            key = pair(path[-1] if path else BEGIN, role)
            parts = None if key in recorded else template.parts([*path, role])
            if parts is None:
                continue
            recorded[key] = parts[-2]
            if role != "assistant":
                recorded.setdefault(pair(role, END), parts[-1])
            if role not in reached:
                reached.add(role)
                paths.append((*path, role))
    return recorded


def _tells(pieces: Mapping[str, str], template: Template) -> bool:
    """Whether the pieces write what the template writes, of all short conversations that they allow and a long one."""
    conversations = itertools.chain(_short_conversations(), [LONG, ("system", *LONG)])
    return all(_written(marked(roles), pieces) in (None, template.write(marked(roles))) for roles in conversations)


def _short_conversations() -> Iterator[tuple[str, ...]]:
    """All orders of roles of up to `PROVEN_MESSAGES` messages."""
    for count in range(1, PROVEN_MESSAGES + 1):
        yield from itertools.product(ROLES, repeat=count)


def _written(messages: Sequence[Message], pieces: Mapping[str, str]) -> str | None:
    """What the pieces write; None of an order that they do not allow."""
    try:
        return written_out(messages, {"pieces": pieces})
    except DataError:
        return None
