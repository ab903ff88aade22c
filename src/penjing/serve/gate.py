"""Between the network and the routes: who may come in, how much they may bring, how long it may take."""

from __future__ import annotations

import asyncio
import json
import secrets
import time
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from typing import Any

from penjing.serve.budget import Budget, Load
from penjing.serve.connection import too_large_head
from penjing.serve.limits import Limits
from penjing.serve.origins import Origins, single_headers
from penjing.serve.refusals import Refusal, full, late
from penjing.serve.watch import Watch, log
from penjing.serve.wire import event

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Application = Callable[[Scope, Receive, Send], Awaitable[None]]

TELLING = ("/health", "/metrics", "/openapi.json")
"""Routes without a key that tell what is served."""
GUARDED, EVENTS = "/v1/", b"text/event-stream"
ANY_HOST = Origins()
SPOOLED_BYTES = 1 << 20
"""Of an upload that are held in memory; Starlette writes more than that to a file."""
LEFT = 499
"""The status that is noted, to nobody, where the client hung up before there was an answer."""


class Drain:
    """Reads what is left of refused bodies and throws it away, of few at a time and for a while.

    A connection that is closed before takes the answer with it, since a client that is still sending is reset.
    """

    def __init__(self, limits: Limits) -> None:
        self._limits, self._open = limits, 0

    async def __call__(self, receive: Receive) -> None:
        """Read a body to its end, or up to a limit."""
        if self._open >= self._limits.drained:
            return
        left_bytes = 2 * self._limits.body_bytes
        self._open += 1
        try:
            async with asyncio.timeout(self._limits.drained_s):
                while left_bytes > 0:
                    message = await receive()
                    left_bytes -= len(message.get("body", b""))
                    if not message.get("more_body", False):
                        return
        except TimeoutError:
            return
        finally:
            self._open -= 1


class Coming:
    """What comes in with a request: its body, counted in bytes and seconds, and then that the client has hung up."""

    def __init__(
        self,
        receive: Receive,
        check: Callable[[bytes], None],
        leave: Callable[[], None],
        drain: Drain,
        body_s: float,
    ) -> None:
        self._receive, self._check, self._leave, self._drain, self._body_s = receive, check, leave, drain, body_s
        self._end_s = asyncio.get_running_loop().time() + body_s
        self._listening: asyncio.Task[None] | None = None

    async def __call__(self) -> Message:
        """The next message, as an application is given it."""
        if self._listening is not None:
            return await self._receive()
        try:
            async with asyncio.timeout_at(self._end_s):
                message = await self._receive()
        except TimeoutError:
            raise Refusal(408, f"the body was not complete within {self._body_s:g} s", code="timeout") from None
        is_more = bool(message.get("more_body", False))
        try:
            self._check(message.get("body", b""))
        except Refusal:
            if is_more:
                await self._drain(self._receive)
            raise
        if message["type"] == "http.request" and not is_more:
            self._listening = asyncio.create_task(self._listen())
        return message

    async def _listen(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass
        self._leave()

    def close(self) -> None:
        """Listen no longer."""
        if self._listening is not None:
            self._listening.cancel()


class Gate:
    """The outermost layer of the application; all that is refused here is answered as routes answer.

    With a `key` requests must bring it. What they may be for, and which pages they may come from, `origins` say.
    """

    def __init__(
        self, inside: Application, limits: Limits, watch: Watch, key: str | None, origins: Origins = ANY_HOST
    ) -> None:
        self._inside, self._limits, self._watch, self._key, self._origins = inside, limits, watch, key, origins
        self._budget, self._drain = Budget(limits), Drain(limits)
        self._open = self._held_bytes = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self._inside(scope, receive, send)
            return
        began, sent = time.perf_counter(), {"status": 0, "bytes": 0, "events": 0}

        async def told(message: Message) -> None:
            if message["type"] == "http.response.start":
                sent["status"] = message["status"]
                sent["events"] = int(dict(message.get("headers", ())).get(b"content-type", b"").startswith(EVENTS))
                took = f"{1000 * (time.perf_counter() - began):.1f}"
                message = {**message, "headers": [*message.get("headers", ()), (b"x-penjing-ms", took.encode())]}
            sent["bytes"] += len(message.get("body", b""))
            await send(message)

        try:
            try:
                self._check(scope)
            except Refusal:
                if (b"expect", b"100-continue") not in scope["headers"]:
                    await self._drain(receive)
                raise
            await self._let_in(scope, receive, told, sent)
        except Refusal as refusal:
            await _refuse(refusal, told, begun=sent["status"] > 0)
        except TimeoutError:
            overdue = late(self._limits.timeout_s)
            if sent["events"]:
                await told({"type": "http.response.body", "body": event(overdue.as_json()).encode()})
                sent["status"] = overdue.status  # for the log; its beginning said 200
            await _refuse(overdue, told, begun=sent["status"] > 0)
        except Exception:
            log.exception("a request failed")
            await _refuse(Refusal(500, "internal error", code="bug"), told, begun=sent["status"] > 0)
        finally:
            self._watch.done(dict(scope), int(sent["status"]), began, int(sent["bytes"]))

    async def _let_in(self, scope: Scope, receive: Receive, told: Send, sent: dict[str, int]) -> None:
        """Hand a request on for as long as it may take; one whose client leaves before it is answered is given up."""
        came = values = held = 0
        is_json = _is_json(dict(scope["headers"]))
        most = self._most_bytes(is_json)

        def counted(body: bytes) -> None:
            nonlocal came, values, held
            came += len(body)
            if came > most:
                raise _too_large(most)
            new = len(body) if is_json else min(len(body), SPOOLED_BYTES - held)
            held += new
            self._held_bytes += new
            values += sum(map(body.count, b",[{")) if is_json else 0
            if values > self._limits.json_values:
                raise Refusal(413, f"a body has {self._limits.json_values:,} values at most", code="too_large")
            if self._held_bytes > self._limits.held_bytes and held > self._limits.small_bytes:
                raise full()

        async with asyncio.timeout(self._limits.timeout_s) as end:

            def leave() -> None:
                if not sent["status"] and not end.expired():  # once it has begun, whoever answers finds out
                    sent["status"] = LEFT
                    end.reschedule(asyncio.get_running_loop().time())

            coming = Coming(receive, counted, leave, self._drain, self._limits.body_s)
            load = Load(self._budget)
            scope.setdefault("state", {})["load"] = load
            self._open += 1
            try:
                await self._inside(scope, coming, told)
            finally:
                load.let_go()
                coming.close()
                self._open -= 1
                self._held_bytes -= held

    def _check(self, scope: Scope) -> None:
        """Refuse what is for another host, who has no key, what says that it is too large, and what is too much."""
        sizes = [len(name) + len(value) for name, value in scope["headers"]]
        if sum(sizes) + len(scope.get("raw_path") or b"") + len(scope["query_string"]) > self._limits.head_bytes:
            raise too_large_head(self._limits.head_bytes)
        headers = single_headers(scope["headers"], scope["http_version"])
        guarded = scope["path"].startswith(GUARDED)
        self._origins.check(headers, guarded=guarded or scope["path"] in TELLING)
        if self._key is not None and guarded:
            scheme, _, given = headers.get(b"authorization", b"").partition(b" ")
            if scheme.lower() != b"bearer" or not secrets.compare_digest(given, self._key.encode()):
                raise Refusal(401, "the API key is missing or wrong", code="invalid_api_key")
        told = headers.get(b"content-length", b"0")
        length = int(told) if told.isdigit() else 0
        is_json = _is_json(headers)
        if length > self._most_bytes(is_json):
            raise _too_large(self._most_bytes(is_json))
        new = length if is_json else min(length, SPOOLED_BYTES)
        no_room = new > self._limits.small_bytes and self._held_bytes + new > self._limits.held_bytes
        if guarded and (no_room or self._open >= self._limits.requests):
            raise full()

    def _most_bytes(self, is_json: bool) -> int:
        return min(self._limits.json_bytes, self._limits.body_bytes) if is_json else self._limits.body_bytes


def _is_json(headers: Mapping[bytes, bytes]) -> bool:
    return b"json" in headers.get(b"content-type", b"").lower()


def _too_large(most_bytes: int) -> Refusal:
    return Refusal(413, f"a request of this kind has {most_bytes:,} bytes at most", code="too_large")


async def _refuse(refusal: Refusal, send: Send, *, begun: bool) -> None:
    """Answer with a refusal; where an answer has begun, there is nothing more to say."""
    if begun:
        return
    body = json.dumps(refusal.as_json()).encode()
    headers = {"Content-Type": "application/json", "Content-Length": str(len(body)), "Connection": "close"}
    fields = [(name.lower().encode(), value.encode()) for name, value in {**headers, **refusal.headers}.items()]
    await send({"type": "http.response.start", "status": refusal.status, "headers": fields})
    await send({"type": "http.response.body", "body": body})
