"""A server on a port, until it is told to stop; what it took by then it finishes."""

from __future__ import annotations

import socket

import uvicorn

from penjing.errors import DataError
from penjing.serve.app import application
from penjing.serve.limits import Limits
from penjing.serve.shelf import Shelf
from penjing.serve.watch import log_to_stderr

BACKLOG = 2048
LOCAL = ("127.0.0.1", "localhost", "::1", "[::1]")
"""What this machine calls itself."""


def bound(host: str, port: int) -> socket.socket:
    """Take a place and listen; port 0 is any that is free. Who comes before models are open waits."""
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        # Where TCP is not named, asyncio lets the second packet of an answer wait for 40 ms.
        place = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
        place.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        place.bind((host, port))
        place.listen(BACKLOG)
    except OSError as error:
        hint = "give another --host or --port"
        raise DataError(f"cannot listen on {host}:{port}: {error.strerror}", hint=hint) from error
    return place


def serve(shelf: Shelf, place: socket.socket, limits: Limits, key: str | None) -> None:
    """Listen until SIGINT or SIGTERM. Who listens for this machine alone answers to its own names alone."""
    log_to_stderr()
    config = uvicorn.Config(
        application(shelf, limits, key, LOCAL if place.getsockname()[0] in LOCAL else ()),
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=round(limits.closing_s),
        timeout_keep_alive=30,
    )
    uvicorn.Server(config).run(sockets=[place])
