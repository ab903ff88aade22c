"""The application: routes behind a gate, errors in one form."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Sequence
from importlib.metadata import version
from typing import Any, cast

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from starlette.exceptions import HTTPException
from starlette.middleware.cors import CORSMiddleware
from starlette.types import ASGIApp

from penjing.serve import chat, page, speech, vectors
from penjing.serve.desk import Desk
from penjing.serve.gate import Application, Gate
from penjing.serve.limits import Limits
from penjing.serve.origins import Origins
from penjing.serve.refusals import Refusal
from penjing.serve.shelf import Shelf
from penjing.serve.watch import Watch

SOURCES = ("body", "path", "query", "header", "cookie")
"""Where parameters of a request come from, as validation errors name it."""


def application(
    shelf: Shelf,
    limits: Limits,
    key: str | None = None,
    hosts: Sequence[str] = (),
    origins: Sequence[str] = (),
) -> Application:
    """What an ASGI server runs; see `Gate` for keys, `Origins` for hosts and for pages of other sites."""
    desk, watch = Desk(shelf, limits), Watch(shelf)

    @contextlib.asynccontextmanager
    async def open_for(app: FastAPI) -> AsyncIterator[None]:
        yield
        desk.close()

    app = FastAPI(title="penjing", version=version("penjing"), lifespan=open_for, docs_url=None, redoc_url=None)
    for routes in (chat.routes, speech.routes, vectors.routes, page.routes):
        app.include_router(routes(desk))

    @app.get("/v1/models")
    async def models() -> dict[str, Any]:
        """What can be asked."""
        return {"object": "list", "data": [model.as_json() for model in shelf.models.values()]}

    @app.get("/v1/models/{name}")
    async def model(name: str) -> dict[str, Any]:
        """One of them."""
        return shelf[name].as_json()

    @app.get("/health")
    async def health() -> dict[str, Any]:
        """Whether requests are taken, how many wait for each model, and whether there is an index to search."""
        waiting = {name: model.worker.waiting for name, model in shelf.models.items()}
        return {"status": "ok", "waiting": waiting, "searches": shelf.searcher is not None}

    @app.get("/metrics", include_in_schema=False)
    async def metrics() -> Response:
        """Numbers for Prometheus."""
        return Response(watch.page(), media_type="text/plain; version=0.0.4")

    app.add_exception_handler(Refusal, _refused)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, _http)
    app.add_exception_handler(Exception, _broken)
    gate = Gate(app, limits, watch, key, Origins(hosts, origins))
    return gate if not origins else _shared(gate, origins)


def _shared(gate: Gate, origins: Sequence[str]) -> Application:
    """The same for pages of these origins: browsers ask beforehand, without a key, and are told that they may."""
    return CORSMiddleware(
        cast(ASGIApp, gate),
        allow_origins=origins,
        allow_methods=["GET", "POST"],
        allow_headers=["*"],
        allow_private_network=True,
        expose_headers=["x-penjing-ms", "retry-after"],
    )


def _answer(refusal: Refusal) -> JSONResponse:
    return JSONResponse(refusal.as_json(), refusal.status, refusal.headers)


async def _refused(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, Refusal)
    return _answer(error)


async def _invalid(request: Request, error: Exception) -> JSONResponse:
    """The first thing that is wrong with a request, and where."""
    assert isinstance(error, RequestValidationError)
    first = error.errors()[0]
    if first["type"] == "json_invalid":
        return _answer(Refusal(400, f"the body is no JSON: {first['ctx']['error']}", code="invalid"))
    param = given_path(first["loc"], error.body, is_missing=first["type"] == "missing")
    message = first["msg"].removeprefix("Value error, ")
    return _answer(Refusal(400, f"{param or 'the body'}: {message}", code="invalid", param=param or None))


def given_path(location: Sequence[str | int], body: Any, *, is_missing: bool) -> str:
    """Where in a request something is wrong, as `messages.0.content`.

    Validation names the types that it tried on the way, too; those are no part of a request and are left out. The last
    name of a field that `is_missing` is one, although the body does not have it.
    """
    path: list[str] = []
    inside, names = body, location[1:] if location[:1] and location[0] in SOURCES else location
    for depth, part in enumerate(names):
        try:
            inside = inside[part]
        except (KeyError, IndexError, TypeError):
            if depth and not (is_missing and depth == len(names) - 1):
                continue
        path.append(str(part))
    return ".".join(path)


async def _broken(request: Request, error: Exception) -> JSONResponse:
    """Our fault: the gate writes down what it was."""
    return _answer(Refusal(500, "internal error", code="bug"))


async def _http(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)
    if isinstance(error.__cause__, Refusal):  # what went wrong while the body was read
        return _answer(error.__cause__)
    said = f"there is no {request.url.path}" if error.status_code == 404 else str(error.detail)
    answer = _answer(Refusal(error.status_code, said, code="http"))
    answer.headers.update(error.headers or {})
    return answer
