"""Between the network and the routes: who may come in, how much they may bring, how long it may take."""

from __future__ import annotations

import asyncio
import json
import re
import secrets
import time
from collections.abc import Awaitable, Callable, MutableMapping, Sequence
from typing import Any

from penjing.serve.limits import Limits
from penjing.serve.refusals import Refusal, late
from penjing.serve.watch import Watch, log

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Application = Callable[[Scope, Receive, Send], Awaitable[None]]

GUARDED = "/v1/"


class Gate:
    """The outermost layer of the application; all that is refused here is answered as routes answer.

    With a `key` requests must bring it. With `hosts` they must be for one of these: a page of another site, whose name
    was led to this machine, is for another.
    """

    def __init__(
        self, inside: Application, limits: Limits, watch: Watch, key: str | None, hosts: Sequence[str] = ()
    ) -> None:
        self._inside, self._limits, self._watch, self._key, self._hosts = inside, limits, watch, key, hosts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self._inside(scope, receive, send)
            return
        began, sent = time.perf_counter(), {"status": 0, "bytes": 0}

        async def told(message: Message) -> None:
            if message["type"] == "http.response.start":
                sent["status"] = message["status"]
                took = f"{1000 * (time.perf_counter() - began):.1f}"
                message = {**message, "headers": [*message.get("headers", ()), (b"x-penjing-ms", took.encode())]}
            sent["bytes"] += len(message.get("body", b""))
            await send(message)

        try:
            self._check(scope)
            async with asyncio.timeout(self._limits.timeout_s):
                await self._inside(scope, self._measured(receive), told)
        except Refusal as refusal:
            await _refuse(refusal, told, begun=sent["status"] > 0)
        except TimeoutError:
            await _refuse(late(self._limits.timeout_s), told, begun=sent["status"] > 0)
        except Exception:
            log.exception("a request failed")
            await _refuse(Refusal(500, "internal error", code="bug"), told, begun=sent["status"] > 0)
        finally:
            self._watch.done(dict(scope), int(sent["status"]), began, int(sent["bytes"]))

    def _check(self, scope: Scope) -> None:
        """Refuse what is for another host, who has no key, and what says that it is too large."""
        headers = {name.lower(): value for name, value in scope["headers"]}
        host = headers.get(b"host", b"").decode("latin1")
        if self._hosts and re.sub(r":\d*$", "", host) not in self._hosts:
            raise Refusal(403, f"this server is not {host}", code="wrong_host")
        if self._key is not None and scope["path"].startswith(GUARDED):
            given = headers.get(b"authorization", b"").removeprefix(b"Bearer ")
            if not secrets.compare_digest(given, self._key.encode()):
                raise Refusal(401, "the API key is missing or wrong", code="invalid_api_key")
        length = headers.get(b"content-length", b"0")
        if length.isdigit() and int(length) > self._limits.body_bytes:
            raise self._too_large()

    def _measured(self, receive: Receive) -> Receive:
        """Count what comes in, whatever was said about it."""
        came = 0

        async def counted() -> Message:
            nonlocal came
            message = await receive()
            came += len(message.get("body", b""))
            if came > self._limits.body_bytes:
                raise self._too_large()
            return message

        return counted

    def _too_large(self) -> Refusal:
        return Refusal(413, f"a request has {self._limits.body_bytes:,} bytes at most", code="too_large")


async def _refuse(refusal: Refusal, send: Send, *, begun: bool) -> None:
    """Answer with a refusal; where an answer has begun, there is nothing more to say."""
    if begun:
        return
    body = json.dumps(refusal.as_json()).encode()
    headers = {"content-type": "application/json", "content-length": str(len(body)), "connection": "close"}
    fields = [(name.lower().encode(), value.encode()) for name, value in {**headers, **refusal.headers}.items()]
    await send({"type": "http.response.start", "status": refusal.status, "headers": fields})
    await send({"type": "http.response.body", "body": body})
