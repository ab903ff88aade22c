"""Heads of requests: what they weigh, how long they take, what comes twice; slow ones hold up nobody."""

from __future__ import annotations

import json
import socket
import time

import pytest

from tiny_runners import Slow

EMBED = json.dumps({"model": "model", "input": "x"}).encode()


def plain(running) -> socket.socket:
    """A connection that has sent nothing."""
    return socket.create_connection(("127.0.0.1", running.port), 10)


def answer(connection: socket.socket) -> bytes:
    """All that comes until the server closes the connection."""
    parts = []
    try:
        while part := connection.recv(65536):
            parts.append(part)
    except ConnectionResetError:
        pass
    return b"".join(parts)


def head(*lines: str, host: str = "Host: x") -> bytes:
    length = f"Content-Length: {len(EMBED)}"
    first = "POST /v1/embeddings HTTP/1.1"
    return "\r\n".join([first, *([host] if host else []), "Content-Type: application/json", length, *lines]).encode()


def sent_until_closed(connection: socket.socket, part: bytes) -> int:
    """Bytes that are taken of what is sent over and over, at most 200 MB, until the server closes the connection."""
    sent_bytes = 0
    try:
        while sent_bytes < 200_000_000:
            sent_bytes += connection.send(part)
    except ConnectionError:
        pass
    return sent_bytes


def status_of(running, request: bytes) -> int:
    with plain(running) as connection:
        connection.sendall(request)
        return int(connection.recv(4000).split(b" ", 2)[1])


def test_a_head_that_is_never_complete_is_told_and_closed(serving):
    running = serving(Slow(), head_s=2)
    with plain(running) as half, plain(running) as silent, plain(running) as dribbling:
        half.sendall(b"POST /v1/embeddings HTTP/1.1\r\nHost: x\r\nX-A: ")
        start = time.perf_counter()
        dribbling.sendall(b"GET /health HTTP/1.1\r\n")
        assert running.get("/health").status == 200
        for number in range(3):
            time.sleep(0.1)
            dribbling.sendall(f"X-{number}: a\r\n".encode())
        for connection in (half, dribbling):
            text = answer(connection)
            assert text.startswith(b"HTTP/1.1 408 Request Timeout\r\n")
            assert json.loads(text.partition(b"\r\n\r\n")[2])["error"]["code"] == "timeout"
        assert answer(silent) == b""
        assert 1.5 < time.perf_counter() - start < 9


def test_the_next_head_of_a_connection_has_its_time_too(serving):
    running = serving(Slow(0.0), head_s=1)
    with plain(running) as connection:
        for _ in range(2):
            connection.sendall(head() + b"\r\n\r\n" + EMBED)
            assert b" 200 " in connection.recv(4000)
            time.sleep(1.3)  # between requests it may wait longer
        connection.sendall(b"POST /v1/em")
        assert b" 408 " in answer(connection)


def test_a_request_that_takes_its_time_is_no_slow_head(serving):
    running = serving(Slow(1.5), head_s=1)
    assert running.post("/v1/embeddings", EMBED).status == 200


@pytest.mark.parametrize("count", [1, 500])
def test_large_heads_are_refused_before_the_key_is_looked_at(count, serving):
    running = serving(Slow(), key="secret", head_bytes=4000)
    lines = [f"X-{number}: {'a' * (5000 // count)}" for number in range(count)]
    whole = head(*lines) + b"\r\n\r\n" + EMBED
    with plain(running) as connection:
        connection.sendall(whole)
        assert answer(connection).startswith(b"HTTP/1.1 431 ")
    with plain(running) as connection:
        for start in range(0, len(whole) - 600, 500):
            try:
                connection.sendall(whole[start : start + 500])
            except ConnectionError:
                break
            time.sleep(0.001)
        text = answer(connection)
    assert not text or text.startswith(b"HTTP/1.1 431 ")
    assert status_of(running, b"GET /" + b"a" * 5000 + b" HTTP/1.1\r\nHost: x\r\n\r\n") == 431
    assert status_of(running, head() + b"\r\n\r\n" + EMBED) == 401


def test_a_head_without_end_is_not_gathered(serving):
    running = serving(Slow(), head_bytes=4000)
    with plain(running) as connection:
        connection.sendall(b"GET /health HTTP/1.1\r\nHost: x\r\nX-A: ")
        assert sent_until_closed(connection, b"a" * 65536) < 50_000_000  # what the system's own buffers hold


def test_trailers_without_end_are_not_gathered(serving):
    running = serving(Slow(), head_bytes=4000)
    with plain(running) as connection:
        chunked = b"POST /v1/embeddings HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
        connection.sendall(chunked + b"Transfer-Encoding: chunked\r\n\r\n1\r\n{\r\n0\r\n")
        assert sent_until_closed(connection, b"X-A: " + b"a" * 30_000 + b"\r\n") < 50_000_000
    assert running.get("/health").status == 200


def test_for_one_connection_too_many_the_longest_silent_one_is_closed(serving):
    running = serving(Slow(0.0), connections=20)
    slow = [plain(running) for _ in range(60)]
    try:
        for connection in slow[:40]:
            with_nothing_yet = connection in slow[:5]
            try:
                connection.sendall(b"" if with_nothing_yet else b"GET /health HTTP/1.1\r\nX-A: ")
            except ConnectionError:
                continue
        for _ in range(3):
            assert running.get("/health").status == 200
            assert running.post("/v1/embeddings", EMBED).status == 200
        assert answer(slow[0]) == b""
    finally:
        for connection in slow:
            connection.close()


@pytest.mark.parametrize(
    ("lines", "host", "said"),
    [
        (["Host: y"], "Host: x", "host comes twice"),
        (["host: x"], "Host: x", "host comes twice"),
        ([], "", "host is missing"),
        (["Authorization: Bearer a", "Authorization: Bearer b"], "Host: x", "authorization comes twice"),
        (["Origin: http://x", "Origin: http://y"], "Host: x", "origin comes twice"),
        (["Content-Type: text/plain"], "Host: x", "content-type comes twice"),
    ],
)
def test_what_comes_once_does_not_come_twice(lines, host, said, serving):
    running = serving(Slow())
    with plain(running) as connection:
        connection.sendall(head(*lines, host=host) + b"\r\n\r\n" + EMBED)
        text = answer(connection)
    assert text.startswith(b"HTTP/1.1 400 ")
    assert said in json.loads(text.partition(b"\r\n\r\n")[2])["error"]["message"]


def test_a_body_has_its_time(serving):
    running = serving(Slow(), body_s=0.4)
    with plain(running) as connection:
        connection.sendall(head() + b"\r\n\r\n" + EMBED[:-1])
        text = answer(connection)
    assert text.startswith(b"HTTP/1.1 408 ")
    assert b"the body was not complete within 0.4 s" in text
