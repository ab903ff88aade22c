"""Many clients that mean it no good, for a few seconds: the server answers others and grows by little.

The whole of it, 200 clients for 30 s, is benchmarks/hostile.py.
"""

from __future__ import annotations

import http.client
import json
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import psutil

from penjing.apps.confidence import builtin_folder

CLIENTS, SECONDS = 40, 6.0
MOST_GROWTH_BYTES = 96_000_000
TEXT = b'{"model": "assistant", "messages": [{"role": "user", "content": "' + b"a b " * 2_500_000 + b'"}]}'
LISTS = b'{"model": "assistant", "messages": [' + b"[]," * 3_000_000 + b"[]]}"


def head(length: int | None) -> bytes:
    """The head of a request; without its end where there is no length."""
    first = b"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    return first + (b"X-A: " if length is None else f"Content-Length: {length}\r\n\r\n".encode())


def slow_head(connection: socket.socket) -> None:
    for _ in range(20):
        connection.sendall(b"a" if _ else head(None))
        time.sleep(0.1)


def large_head(connection: socket.socket) -> None:
    connection.sendall(head(None) + b"a" * 4_000_000)
    connection.recv(100)


def large_text(connection: socket.socket) -> None:
    connection.sendall(head(len(TEXT)))
    connection.sendall(TEXT)
    connection.recv(100)


def half_body(connection: socket.socket) -> None:
    connection.sendall(head(1_000_000) + b"a" * 999_999)
    connection.recv(100)


def empty_lists(connection: socket.socket) -> None:
    connection.sendall(head(len(LISTS)))
    connection.sendall(LISTS)
    connection.recv(100)


KINDS = (slow_head, large_head, large_text, half_body, empty_lists)


def attack(port: int, kind: Callable[[socket.socket], None], end: float) -> None:
    while time.perf_counter() < end:
        try:
            with socket.create_connection(("127.0.0.1", port), 2) as connection:
                kind(connection)
        except OSError:
            pass
        time.sleep(0.1)


def answered(port: int, path: str, document: object = None) -> tuple[int, float]:
    """The status of a request and the seconds it took."""
    connection, start = http.client.HTTPConnection("127.0.0.1", port, timeout=30), time.perf_counter()
    body = None if document is None else json.dumps(document)
    try:
        connection.request("POST" if body else "GET", path, body, {"Content-Type": "application/json"})
        return connection.getresponse().status, time.perf_counter() - start
    finally:
        connection.close()


def test_many_hostile_clients_hold_up_nobody():
    knowledge = str(builtin_folder() / "knowledge")
    command = [sys.executable, "-m", "penjing", "serve", "--knowledge", knowledge, "--port", "0", "--json"]
    source = str(Path(__file__).parents[2] / "src")
    server = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
                              env={**os.environ, "PYTHONPATH": source})  # fmt: skip
    try:
        line = server.stdout.readline()
        while "url" not in line:
            assert line
            line = server.stdout.readline()
        port = int(line.rpartition(":")[2].strip(' ",\n'))
        asked = {"model": "assistant", "messages": [{"role": "user", "content": "what are your shipping costs"}]}
        assert answered(port, "/v1/chat/completions", asked)[0] == 200
        idle_bytes = largest_bytes = psutil.Process(server.pid).memory_info().rss
        attackers = subprocess.Popen([sys.executable, __file__, str(port)], env={**os.environ, "PYTHONPATH": source})
        waits, statuses = [], []
        while attackers.poll() is None:
            waits.append(answered(port, "/health")[1])
            statuses.append(answered(port, "/v1/chat/completions", asked)[0])
            largest_bytes = max(largest_bytes, psutil.Process(server.pid).memory_info().rss)
        assert attackers.returncode == 0
        assert answered(port, "/v1/chat/completions", asked)[0] == 200
    finally:
        server.terminate()
        server.communicate(timeout=60)
    assert statuses
    assert set(statuses) == {200}
    assert sorted(waits)[len(waits) // 2] < 1  # clients and server share the machine, with whatever else runs on it
    assert max(waits) < 5
    assert largest_bytes - idle_bytes < MOST_GROWTH_BYTES


if __name__ == "__main__":  # the attackers, in a process of their own
    end_s = time.perf_counter() + SECONDS
    for number in range(CLIENTS):
        threading.Thread(target=attack, args=(int(sys.argv[1]), KINDS[number % len(KINDS)], end_s)).start()
