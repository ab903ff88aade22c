"""Questions about pictures, and captions: files in, sentences out."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from penjing.data.audio import audio_length, decode_audio
from penjing.data.formats import media_of
from penjing.data.image import read_image
from penjing.data.rows import names_media
from penjing.errors import ArtifactError, DataError
from penjing.runtimes.pieces import Ending
from penjing.runtimes.sampling import PLAIN, Style

Show = Callable[[str], None]
"""Is given a piece of text."""
USAGE = 'penjing ask seedling scene.png "how many red circles?"'


@dataclass(frozen=True, slots=True)
class Said:
    """What a model said about a picture. `seconds` is the wall time from file to answer, the model already loaded."""

    file: str
    text: str
    seconds: float
    question: str | None = None

    def as_json(self) -> dict[str, Any]:
        """Return a plain dict; captions have no question."""
        return {key: value for key, value in asdict(self).items() if value is not None}


@dataclass(frozen=True, slots=True)
class Asked:
    """A picture and a question about it: a text, or the path of a sound."""

    picture: str
    question: str | Path


def what_is_asked(given: Sequence[str]) -> Asked:
    """Tell picture from question, in whatever order they stand; refuse files that cannot be read."""
    pictures = [name for name in given if names_media(name) and media_of(name) == "image"]
    questions = [name for name in given if name not in pictures]
    if not pictures:
        raise DataError("ask needs a picture", hint=USAGE)
    if not questions:
        raise DataError("ask needs a question, typed or as a sound file", hint=USAGE)
    if len(pictures) > 1 or len(questions) > 1:
        raise DataError("ask takes one picture and one question", hint=f"put the question in quotes: {USAGE}")
    check_pictures(pictures)
    return Asked(pictures[0], _spoken(questions[0]) if names_media(questions[0]) else questions[0])


def check_pictures(names: Sequence[str]) -> None:
    """Refuse what is missing or no picture before a model is loaded."""
    for name in names:
        if not Path(name).is_file():
            raise DataError(f"{name} is not a file", hint="give pictures: png, jpg, webp or gif")
        read_image(name)


def _spoken(name: str) -> Path:
    if not Path(name).is_file():
        raise DataError(f"{name} is not a file", hint="give a sound file, or type the question")
    if audio_length(name)[0] < 1:
        decode_audio(name)
    return Path(name)


def ask(runner: Any, asked: Asked, style: Style = PLAIN, show: Show | None = None) -> Said:
    """Answer a question about a picture; `show` hears every piece of the answer as soon as it is there."""
    check_can(runner, "ask", "answer questions")
    start = time.perf_counter()
    text = _shown(runner.asking(asked.picture, asked.question, style), show)
    return Said(asked.picture, text, time.perf_counter() - start, str(asked.question))


def caption(runner: Any, picture: str, style: Style = PLAIN, show: Show | None = None) -> Said:
    """Caption a picture; `show` hears every piece."""
    check_can(runner, "caption", "write captions")
    start = time.perf_counter()
    text = _shown(runner.captioning(picture, style), show)
    return Said(picture, text, time.perf_counter() - start)


def trimmed(pieces: Iterable[str]) -> Generator[str, None, bool]:
    """Pieces of a text without the space that it may begin with; returns whether the text was cut."""
    begun, ending = False, Ending(pieces)
    for piece in ending:
        new = piece if begun else piece.lstrip()
        if new:
            begun = True
            yield new
    return ending.was_cut


def _shown(pieces: Iterable[str], show: Show | None) -> str:
    """All pieces together."""
    text = ""
    for piece in trimmed(pieces):
        text += piece
        if show:
            show(piece)
    return text.strip()


def check_can(runner: Any, verb: str, what: str) -> None:
    """Refuse an artifact of a task that has no such verb."""
    if not hasattr(runner, verb):
        raise ArtifactError(
            f"this artifact does {runner.task}, it does not {what}", hint="give the artifact of a model that does"
        )
