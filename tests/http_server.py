"""Real HTTP: a server on a port of this machine, in a thread of its own."""

from __future__ import annotations

import http.client
import json
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import uvicorn

from penjing.serve.app import application
from penjing.serve.limits import Limits
from penjing.serve.run import configured
from penjing.serve.shelf import Goods, Served, Shelf, open_shelf
from penjing.serve.worker import Worker


@dataclass(frozen=True)
class Answer:
    """What came back."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@dataclass(frozen=True)
class Running:
    """A server that listens."""

    port: int
    server: uvicorn.Server

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def send(self, method: str, path: str, body: bytes = b"", **headers: str) -> Answer:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        try:
            connection.request(method, path, body, {name.replace("_", "-"): value for name, value in headers.items()})
            found = connection.getresponse()
            return Answer(found.status, {key.lower(): value for key, value in found.getheaders()}, found.read())
        finally:
            connection.close()

    def get(self, path: str, **headers: str) -> Answer:
        return self.send("GET", path, **headers)

    def post(self, path: str, document: Any, **headers: str) -> Answer:
        body = document if isinstance(document, bytes) else json.dumps(document).encode()
        return self.send("POST", path, body, Content_Type="application/json", **headers)


@contextmanager
def listening(
    shelf: Shelf, limits: Limits, key: str | None = None, hosts: Sequence[str] = (), origins: Sequence[str] = ()
) -> Iterator[Running]:
    config = configured(application(shelf, limits, key, hosts, origins), limits, port=0)
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        time.sleep(0.01)
        assert thread.is_alive()
    yield Running(server.servers[0].sockets[0].getsockname()[1], server)
    server.should_exit = True
    thread.join(30)
    assert not thread.is_alive()


def shelf_of(runner: Any, limits: Limits, name: str = "model") -> Shelf:
    """A shelf with one runner that no artifact is behind."""
    return Shelf([Served(name, Path("nowhere"), Worker(runner, limits), 1000)])


@pytest.fixture
def serving() -> Iterator[Callable[..., Running]]:
    """Serve a runner; whatever was begun is ended."""
    open_ones = []

    def begin(
        runner: Any, key: str | None = None, hosts: Sequence[str] = (), origins: Sequence[str] = (), **limits: Any
    ) -> Running:
        granted = Limits(**limits)
        server = listening(shelf_of(runner, granted), granted, key, hosts, origins)
        open_ones.append(server)
        return server.__enter__()

    yield begin
    for server in reversed(open_ones):
        server.__exit__(None, None, None)


@pytest.fixture(scope="session")
def seedling_server(seedling_artifact: Path) -> Iterator[Running]:
    """The tiny seedling over HTTP."""
    limits = Limits()
    with listening(
        open_shelf(Goods([str(seedling_artifact)], engine="onnxruntime", threads=1), limits), limits
    ) as running:
        yield running
