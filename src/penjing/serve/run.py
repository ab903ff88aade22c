"""A server on a port, until it is told to stop; what it took by then it finishes."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Sequence
from typing import Any

import uvicorn

from penjing.errors import DataError
from penjing.serve.app import application
from penjing.serve.connection import bounded_connections
from penjing.serve.gate import Application
from penjing.serve.limits import Limits
from penjing.serve.shelf import Shelf
from penjing.serve.watch import log_to_stderr

BACKLOG = 2048
OTHER_FILES = 200
"""File descriptors that models, an index and uploads take beside connections."""
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


def serve(shelf: Shelf, place: socket.socket, limits: Limits, key: str | None, origins: Sequence[str] = ()) -> None:
    """Listen until SIGINT or SIGTERM. Who listens for this machine alone answers to its own names alone.

    Pages of the `origins` may use it from a browser, beside its own.
    """
    log_to_stderr()
    hosts = LOCAL if place.getsockname()[0] in LOCAL else ()
    uvicorn.Server(configured(application(shelf, limits, key, hosts, origins), limits)).run(sockets=[place])


def configured(application: Application, limits: Limits, **more: Any) -> uvicorn.Config:
    """What uvicorn runs an application with; `more` are further options of it."""
    return uvicorn.Config(
        application,
        http=bounded_connections(limits, most_connections(limits)),
        ws="none",
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=round(limits.closing_s),
        timeout_keep_alive=30,
        **more,
    )


def most_connections(limits: Limits) -> int:
    """Connections that may be open: as many as granted, or as the system has file descriptors for.

    A server without descriptors cannot accept, so that it would be silent. The soft limit is raised where it may be.
    """
    try:
        import resource
    except ImportError:  # Windows
        return limits.connections
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = limits.connections + OTHER_FILES
    if soft != resource.RLIM_INFINITY and soft < needed:
        soft = needed if hard == resource.RLIM_INFINITY else min(needed, hard)
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        soft = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return limits.connections if soft == resource.RLIM_INFINITY else max(min(limits.connections, soft - OTHER_FILES), 1)
