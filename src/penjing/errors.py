"""Every error penjing raises on purpose. Each says what is wrong in one line and what to do next in a hint.

PenjingError                 exit code 3 unless a subclass says otherwise
├── UserError                exit code 2: the input is at fault
│   ├── ModelError           a model folder, id or checkpoint that cannot be opened
│   ├── DataError            a data set, image or sound that cannot be read
│   │   └── Silent           a sound in which nothing can be heard
│   ├── RecipeError          a recipe, goal, method or tower name that makes no sense
│   ├── ArtifactError        an artifact folder that is missing, damaged or in the way
│   ├── EngineError          an engine that cannot run what it was given
│   ├── LeftOut              some of what was given could not be used, the rest was
│   └── MissingExtra         an optional package is not installed
├── GoalNotMet               exit code 1: a goal failed, nothing was published
├── Diverged                 exit code 1: training went astray, nothing was published
└── Interrupted              exit code 130
"""

from __future__ import annotations

from typing import Any

LONGEST_MESSAGE = 1500
"""Messages name what was given, which may be a name of a million letters."""


class PenjingError(Exception):
    """Base of all errors raised on purpose: a message of one line and a hint that says what to do next."""

    exit_code = 3

    def __init__(self, message: str, *, hint: str = "") -> None:
        message = message if len(message) <= LONGEST_MESSAGE else message[:LONGEST_MESSAGE] + " …"
        super().__init__(message)
        self.message = message
        self.hint = hint

    @property
    def kind(self) -> str:
        """Name of the error class, as printed in JSON."""
        return type(self).__name__


class UserError(PenjingError):
    """The input is at fault; one line and a hint, never a traceback."""

    exit_code = 2


class ModelError(UserError):
    """A model folder, id or checkpoint cannot be opened."""


class DataError(UserError):
    """A data set, image or sound cannot be read."""


class Silent(DataError):
    """Nothing can be heard in a sound."""


class RecipeError(UserError):
    """A recipe, goal, method or tower name makes no sense."""


class ArtifactError(UserError):
    """An artifact folder is missing, damaged or in the way."""


class EngineError(UserError):
    """An engine cannot run what it was given."""


class MissingExtra(UserError):
    """An optional package is not installed."""


class LeftOut(UserError):
    """Some of what was given could not be used; what was made of the rest is the `document`, where one was wanted."""

    def __init__(self, message: str, *, hint: str = "", document: dict[str, Any] | None = None) -> None:
        super().__init__(message, hint=hint)
        self.document = document


class GoalNotMet(PenjingError):
    """A goal failed; nothing was published. `document` is what the command prints with `--json`."""

    exit_code = 1
    document: dict[str, Any] | None = None


class Diverged(PenjingError):
    """Training went astray; nothing was published, and the best that it had reached is kept."""

    exit_code = 1


class Interrupted(PenjingError):
    """The user pressed Ctrl-C."""

    exit_code = 130


def did_you_mean(name: str, known: list[str]) -> str:
    """Return a hint for a mistyped name: the nearest known one, or all of them."""
    import difflib

    near = difflib.get_close_matches(name, known, n=1)
    return f"did you mean {near[0]!r}?" if near else f"known: {', '.join(sorted(known))}"
