"""A conversation as the text that a language model was taught on.

What a model's chat template writes around messages was written out once, in the workshop: no template is evaluated
here. Settings (`chat`): `system` (before and behind what is told beforehand, None where the template takes none),
`begin`, `answer`, `again` and `end` (before the first thing said, between it and the answer, between the answer and
what is said next, behind the last), `special` (whether the tokenizer puts its own tokens around the whole).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from penjing.errors import ArtifactError, DataError


@dataclass(frozen=True, slots=True)
class Message:
    """What somebody says: the system beforehand, then user and assistant in turns."""

    role: str
    text: str


def written_out(messages: Sequence[Message], settings: Mapping[str, Any] | None) -> str:
    """The conversation as a prompt that ends where the assistant speaks next."""
    if settings is None:
        raise ArtifactError("this model has no chat template", hint="write on from a text instead")
    system = messages[0].text if messages and messages[0].role == "system" else None
    said = messages[1:] if system is not None else messages
    roles = [message.role for message in said]
    if roles != ["user", "assistant"] * (len(said) // 2) + ["user"]:
        raise DataError("user and assistant speak in turns, the user first and last", hint="a system message may open")
    if system is not None and settings["system"] is None:
        raise DataError("the chat template of this model takes no system message", hint="leave it out")
    parts = [settings["begin"]] if system is None else [settings["system"][0], system, settings["system"][1]]
    for place, message in enumerate(said):
        if place:
            parts.append(settings["answer"] if message.role == "assistant" else settings["again"])
        parts.append(message.text)
    return "".join([*parts, settings["end"]])
