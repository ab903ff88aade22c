"""What is answered to a request that cannot be served: a status, and why, as the OpenAI API says it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any, TypeVar

from penjing.errors import UserError

Made = TypeVar("Made")


LONGEST = 1000
"""Letters of a message: what was given is repeated in it, and may be a megabyte."""


HEADERS = {
    401: {"WWW-Authenticate": "Bearer"},
    408: {"Connection": "close"},
    413: {"Connection": "close"},
    429: {"Retry-After": "1"},
    503: {"Retry-After": "5"},
}


class Refusal(Exception):
    """A request is refused. `code` is a short word for programs, `param` the field that is at fault."""

    def __init__(self, status: int, message: str, *, code: str = "", param: str | None = None) -> None:
        message = message if len(message) <= LONGEST else f"{message[:LONGEST]}…"
        super().__init__(message)
        self.status, self.message, self.code, self.param = status, message, code, param

    @property
    def headers(self) -> dict[str, str]:
        """When to come back, where that is known; how to say who one is; that what is left of a body is not read."""
        return HEADERS.get(self.status, {})

    def as_json(self) -> dict[str, Any]:
        """Return the error document."""
        kind = "invalid_request_error" if self.status < 500 and self.status != 429 else "server_error"
        return {"error": {"message": self.message, "type": kind, "param": self.param, "code": self.code or None}}


def mistaken(error: UserError, param: str | None = None) -> Refusal:
    """What was given is at fault, as an error of ours says."""
    return Refusal(400, f"{error.message} ({error.hint})" if error.hint else error.message, param=param)


async def checked(pieces: AsyncIterator[Made], param: str | None = None) -> AsyncIterator[Made]:
    """What a model makes; what it says is wrong with what it was given is a refusal."""
    try:
        async for piece in pieces:
            yield piece
    except UserError as error:
        raise mistaken(error, param) from error


def full() -> Refusal:
    """As many wait as may."""
    return Refusal(429, "too many requests are waiting: try again in a moment", code="queue_full")


def late(seconds: float) -> Refusal:
    """It took too long."""
    return Refusal(504, f"not answered within {seconds:g} s", code="timeout")


def unknown_model(name: str, known: list[str]) -> Refusal:
    """There is none of this name."""
    return Refusal(
        404, f"no model called {name!r}; there are {', '.join(known)}", code="model_not_found", param="model"
    )


def wrong_model(name: str, what: str) -> Refusal:
    """It is of another task."""
    return Refusal(400, f"{name} does not {what}", code="wrong_task", param="model")
