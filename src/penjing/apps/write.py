"""Write on from a text."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

from penjing.errors import ArtifactError


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


def write(runner: Any, prompt: str, max_tokens: int, show: Callable[[str], None] | None = None) -> Written:
    """Write on from a prompt; `show` hears every piece of text as soon as it is there."""
    if not hasattr(runner, "generate"):
        raise ArtifactError(
            f"this artifact is of the task {runner.task}, it does not write on from text",
            hint="give the artifact of a language model",
        )
    started = time.perf_counter()
    pieces = []
    for piece in runner.generate(prompt, max_tokens):
        pieces.append(piece)
        if show:
            show(piece)
    return Written(prompt, "".join(pieces), len(pieces), time.perf_counter() - started)
