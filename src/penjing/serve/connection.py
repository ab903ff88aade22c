"""Connections before there is a request: how long headers may take, how large they may be, how many may be open.

uvicorn 0.54 bounds none of these for its httptools parser: its only time limit begins after an answer, and its limit of
concurrency is applied once headers are complete.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from functools import partial
from typing import Any, cast

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from penjing.serve.limits import Limits
from penjing.serve.refusals import Refusal

REASONS = {408: "Request Timeout", 431: "Request Header Fields Too Large"}
IDLE_BYTES = 256 * 1024
"""Of an answer that may wait unsent after the time of a request is over; more than that is a client that reads none."""


class Waiting:
    """Connections without a complete request, in the order in which they began to wait."""

    def __init__(self, most: int) -> None:
        self.most = most
        self.idle: dict[BoundedConnection, None] = {}


class BoundedConnection(HttpToolsProtocol):
    """A connection whose heads are limited in bytes and in time. See `Limits` for `head_bytes` and `head_s`."""

    def __init__(self, *args: Any, limits: Limits, waiting: Waiting, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._limits, self._waiting = limits, waiting
        self._is_in_head, self._is_in_message = True, False
        self._quiet_bytes = 0
        """Received since headers were complete or a byte of a body came: of headers, trailers, chunk extensions."""
        self._head_timer: asyncio.TimerHandle | None = None
        self._send_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Take a connection; where as many are open as may be, the one that has waited longest for its request goes."""
        super().connection_made(transport)
        if len(self.connections) > self._waiting.most:
            longest = next(iter(self._waiting.idle), self)
            self._waiting.idle.pop(longest, None)
            longest.transport.abort()
        self._begin_head()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget a connection."""
        self._end_head()
        if self._send_timer is not None:
            self._send_timer.cancel()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Parse what came; a head or a trailer that is incomplete and already too large ends the connection."""
        if self.transport.is_closing():
            return
        if not self._is_in_head and not self._is_in_message:
            self._begin_head()
        self._quiet_bytes += len(data)
        super().data_received(data)
        if self._quiet_bytes > self._limits.head_bytes and not self.transport.is_closing():
            if self._is_in_head and self._is_free:
                self._refuse(too_large_head(self._limits.head_bytes))
            else:
                self.transport.abort()

    def on_message_begin(self) -> None:
        """A request begins: its time runs from its first byte, whatever was waited before."""
        self._begin_head()
        self._is_in_message = True
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        """Hand the request on."""
        self._end_head()
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """A part of the body."""
        self._quiet_bytes = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        """The request is all there."""
        self._quiet_bytes, self._is_in_message = 0, False
        super().on_message_complete()

    def on_response_complete(self) -> None:
        """Wait for the next request, and not for ever for a client that does not read its answer."""
        super().on_response_complete()
        if self._send_timer is not None:
            self._send_timer.cancel()
        self._send_timer = self.loop.call_later(self._limits.timeout_s, self._drop_unread)
        if self._is_free and not self.transport.is_closing():
            self._waiting.idle[self] = None

    @property
    def _is_free(self) -> bool:
        """Whether no request of this connection is being answered."""
        return self.cycle is None or self.cycle.response_complete

    def _begin_head(self) -> None:
        began_bytes = self._quiet_bytes
        self._end_head()
        self._is_in_head, self._quiet_bytes = True, began_bytes
        self._head_timer = self.loop.call_later(self._limits.head_s, self._be_late)
        if self._is_free:
            self._waiting.idle[self] = None

    def _end_head(self) -> None:
        self._is_in_head, self._quiet_bytes = False, 0
        self._waiting.idle.pop(self, None)
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _be_late(self) -> None:
        if self.transport.is_closing():
            return
        if self._is_free and self._is_in_message:
            self._refuse(Refusal(408, f"headers were not complete within {self._limits.head_s:g} s", code="timeout"))
        else:  # nothing came at all, or an answer is being written: a refusal would be taken for something else
            self.transport.abort()

    def _refuse(self, refusal: Refusal) -> None:
        body = json.dumps(refusal.as_json()).encode()
        head = f"HTTP/1.1 {refusal.status} {REASONS[refusal.status]}\r\ncontent-type: application/json\r\n"
        head += f"content-length: {len(body)}\r\nconnection: close\r\n\r\n"
        self._end_head()
        self.transport.write(head.encode() + body)
        self.transport.close()

    def _drop_unread(self) -> None:
        unread = self.transport.get_write_buffer_size() > IDLE_BYTES or self.transport.is_closing()
        if self._is_free and (unread or self._is_in_message):
            self.transport.abort()


def too_large_head(head_bytes: int) -> Refusal:
    """Refusal of a request whose line and headers are larger than `head_bytes`."""
    return Refusal(431, f"the headers of a request have {head_bytes:,} bytes at most", code="too_large")


def bounded_connections(limits: Limits, most: int) -> type[asyncio.Protocol]:
    """What uvicorn makes connections with (its option `http`): within `limits`, at most so many open at a time."""
    made: Callable[..., BoundedConnection] = partial(BoundedConnection, limits=limits, waiting=Waiting(most))
    return cast(type[asyncio.Protocol], made)
