"""Write on from a text."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

from penjing.data.chat import Message
from penjing.errors import ArtifactError, DataError
from penjing.runtimes.sampling import Style


@dataclass(frozen=True, slots=True)
class Written:
    """What was written behind a prompt, in how many pieces, and how long it took, the model already open."""

    prompt: str
    text: str
    pieces: int
    seconds: float

    def as_json(self) -> dict[str, Any]:
        """Return a plain dict."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Manner:
    """How it is written. With `chat` the prompt is what a user says, and what is written the answer, after what the
    `system` was told."""

    style: Style
    chat: bool = False
    system: str | None = None

    def prompt(self, text: str) -> str | list[Message]:
        """What a runner is given."""
        if not self.chat:
            if self.system is not None:
                raise DataError("a system message is a part of a conversation", hint="give --chat, too")
            return text
        return [*([Message("system", self.system)] if self.system is not None else []), Message("user", text)]


def write(runner: Any, prompt: str, manner: Manner, show: Callable[[str], None] | None = None) -> Written:
    """Write on from a prompt, or answer it; `show` hears every piece of text as soon as it is there."""
    if not hasattr(runner, "generate"):
        raise ArtifactError(
            f"this artifact is of the task {runner.task}, it does not write on from text",
            hint="give the artifact of a language model",
        )
    started = time.perf_counter()
    pieces = []
    for piece in runner.generate(manner.prompt(prompt), manner.style):
        pieces.append(piece)
        if show:
            show(piece)
    return Written(prompt, "".join(pieces), len(pieces), time.perf_counter() - started)
