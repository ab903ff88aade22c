"""A conversation as the text that a language model was trained on.

What a model's chat template writes around messages was recorded once, when the model was compressed: no template is
evaluated here. Settings (`chat`):

- `pieces`: what stands between two messages, by their roles: `user assistant`. `begin user` stands before a first
  message of the user, `user end` behind the last one, up to where the assistant speaks. A pair that is missing is one
  that the template refuses.
- `strip`: roles whose messages lose the spaces around them
- `special`: whether the tokenizer puts its own tokens around the whole

Artifacts of before hold `system`, `begin`, `answer`, `again` and `end`, the pieces of conversations in turns.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from penjing.errors import ArtifactError, DataError

ROLES = ("system", "user", "assistant", "tool")
BEGIN, END = "begin", "end"


@dataclass(frozen=True, slots=True)
class Message:
    """One message of a conversation: its role, one of `ROLES`, and its text."""

    role: str
    text: str


def pair(before: str, after: str) -> str:
    """The key of what stands between messages of two roles."""
    return f"{before} {after}"


def pieces_of_template(settings: Mapping[str, Any]) -> Mapping[str, str]:
    """The pieces of a template, of artifacts of any age."""
    if "pieces" in settings:
        pieces: Mapping[str, str] = settings["pieces"]
        return pieces
    pieces = {
        pair(BEGIN, "user"): settings["begin"],
        pair("user", "assistant"): settings["answer"],
        pair("assistant", "user"): settings["again"],
        pair("user", END): settings["end"],
    }
    if settings["system"] is None:
        return pieces
    before, behind = settings["system"]
    return {**pieces, pair(BEGIN, "system"): before, pair("system", "user"): behind}


def takes_system(settings: Mapping[str, Any]) -> bool:
    """Whether a conversation may begin with a system message."""
    if "pieces" in settings:
        return pair(BEGIN, "system") in settings["pieces"]
    return settings["system"] is not None


def written_out(messages: Sequence[Message], settings: Mapping[str, Any] | None) -> str:
    """The conversation as a prompt that ends where the assistant speaks next.

    An answer that was begun, a last message of the assistant, is left open for the model to go on, as
    `continue_final_message` of transformers does.

    Raises:
        ArtifactError: The model has no chat template.
        DataError: The template refuses messages in this order.
    """
    if settings is None:
        raise ArtifactError("this model has no chat template", hint="write on from a text instead")
    pieces, strip = pieces_of_template(settings), settings.get("strip", ())
    roles = [message.role for message in messages]
    keys = [pair(before, after) for before, after in itertools.pairwise([BEGIN, *roles, END])]
    _check_order(keys, pieces)
    texts = [message.text.strip() if message.role in strip else message.text for message in messages]
    return "".join([pieces[keys[0]], *(text + pieces.get(key, "") for text, key in zip(texts, keys[1:], strict=True))])


def _check_order(keys: Sequence[str], pieces: Mapping[str, str]) -> None:
    """Refuse an order of messages that the template has no words for."""
    if keys == [pair(BEGIN, END)]:
        raise DataError("a conversation of no message", hint="give a message of the user")
    for key in keys:
        before, after = key.split(" ", 1)
        if key in pieces or key == pair("assistant", END):
            continue
        where = "first" if before == BEGIN else f"behind a {before} message"
        what = "conversation that ends" if after == END else f"{after} message"
        turns = "user and assistant speak in turns, the user first and last"
        raise DataError(
            f"the chat template of this model takes no {what} {where}",
            hint=turns if not takes_system({"pieces": pieces}) else f"{turns}; a system message may open",
        )
