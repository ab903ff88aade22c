"""A server under clients that mean it no good: hostile.py ARTIFACT [--seconds 30] [--clients 200]

`penjing serve ARTIFACT` in a process of its own. In another so many clients at once, in five kinds: heads that are sent
a byte at a time and never complete, heads of megabytes, bodies of 20 MB of text, bodies that stop half way, and JSON of
empty lists. Meanwhile `/health` is asked ten times a second, and now and then an honest request for a vector.

The result: the slowest answer of `/health`, the largest resident memory against what it was before (the server idle,
after some requests), what each kind was answered, and whether the server still answers afterwards.
"""

from __future__ import annotations

import argparse
import json
import socket
import subprocess
import sys
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

from serve import PORT, ready, resident
from timing import THREADS, write

TEXT = b'{"model": "x", "messages": [{"role": "user", "content": "' + b"a b " * 5_000_000 + b'"}]}'
LISTS = b'{"model": "x", "input": [' + b"[]," * 3_000_000 + b"[]]}"
ADDRESS = ("127.0.0.1", PORT)


def head(length: int | None, path: str = "/v1/embeddings") -> bytes:
    """The head of a request with a JSON body of so many bytes; without its end where there is no length."""
    lines = [f"POST {path} HTTP/1.1", f"Host: 127.0.0.1:{PORT}", "Content-Type: application/json"]
    return "\r\n".join([*lines, *([f"Content-Length: {length}", "\r\n"] if length is not None else ["X-A: "])]).encode()


def status_of(connection: socket.socket) -> str:
    """The status that comes back; "closed" where the connection ends without one."""
    line = connection.recv(4096).split(b" ", 2)
    return line[1].decode() if len(line) > 1 else "closed"


def slow_head(connection: socket.socket, end: float) -> str:
    """A head of which a byte comes now and then."""
    connection.sendall(head(None))
    connection.settimeout(0.5)
    while time.perf_counter() < end:
        connection.sendall(b"a")
        try:
            return status_of(connection)
        except TimeoutError:
            continue
    return "open"


def large_head(connection: socket.socket, end: float) -> str:
    """A head of 8 MB."""
    connection.sendall(head(None))
    for _ in range(128):
        connection.sendall(b"a" * 65536)
    return status_of(connection)


def large_text(connection: socket.socket, end: float) -> str:
    """A conversation of 20 MB."""
    connection.sendall(head(len(TEXT), "/v1/chat/completions"))
    connection.sendall(TEXT)
    return status_of(connection)


def half_body(connection: socket.socket, end: float) -> str:
    """A body of 1 MB that stops before its last byte."""
    connection.sendall(head(1_000_000) + b"a" * 999_999)
    connection.settimeout(max(end - time.perf_counter(), 0.1))
    return status_of(connection)


def empty_lists(connection: socket.socket, end: float) -> str:
    """9 MB of JSON that would take 300 MB once it is parsed."""
    connection.sendall(head(len(LISTS)))
    connection.sendall(LISTS)
    return status_of(connection)


KINDS: tuple[Callable[[socket.socket, float], str], ...] = (slow_head, large_head, large_text, half_body, empty_lists)


def attack(count: int, seconds: float) -> None:
    """Run so many clients, a fifth of each kind, and print what each kind was answered."""
    end, answers, lock = time.perf_counter() + seconds, defaultdict[str, Counter[str]](Counter), threading.Lock()

    def run(kind: Callable[[socket.socket, float], str]) -> None:
        while time.perf_counter() < end:
            try:
                with socket.create_connection(ADDRESS, 30) as connection:
                    answer = kind(connection, end)
            except (ConnectionError, TimeoutError):
                answer = "closed"
            with lock:
                answers[kind.__name__][answer] += 1
            time.sleep(0.2)

    clients = [threading.Thread(target=run, args=(KINDS[number % len(KINDS)],)) for number in range(count)]
    for client in clients:
        client.start()
    for client in clients:
        client.join()
    print(json.dumps(answers))


def timed_request(method: str, path: str, body: bytes | None = None) -> tuple[float, int]:
    """Seconds of an honest request on a connection of its own, and its status."""
    import http.client

    start = time.perf_counter()
    connection = http.client.HTTPConnection(*ADDRESS, timeout=60)
    try:
        connection.request(method, path, body, {"Content-Type": "application/json"})
        answer = connection.getresponse()
        answer.read()
        return time.perf_counter() - start, answer.status
    finally:
        connection.close()


def measure(artifact: str, process: int, count: int, seconds: float) -> dict[str, Any]:
    """What a server does under attack, and after it."""
    body = json.dumps({"model": Path(artifact).resolve().name, "input": "a red bus"}).encode()
    while not ready():
        time.sleep(0.3)
    before = [timed_request("POST", "/v1/embeddings", body)[1] for _ in range(20)]
    idle_bytes = largest_bytes = resident(process)
    command = [sys.executable, __file__, artifact, "--attack", "--clients", str(count), "--seconds", str(seconds)]
    attackers = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    health: list[float] = []
    honest: list[tuple[float, int]] = []
    while attackers.poll() is None:
        health.append(timed_request("GET", "/health")[0])
        if len(health) % 10 == 1:
            honest.append(timed_request("POST", "/v1/embeddings", body))
        largest_bytes = max(largest_bytes, resident(process))
        time.sleep(0.1)
    answers = json.loads(attackers.communicate()[0])
    afterwards = timed_request("POST", "/v1/embeddings", body)[1]
    return {
        "clients": count,
        "seconds": seconds,
        "health_slowest_s": max(health),
        "health_asked": len(health),
        "honest_statuses": dict(Counter(status for _, status in honest)),
        "honest_slowest_s": max(took for took, _ in honest),
        "idle_bytes": idle_bytes,
        "largest_bytes": largest_bytes,
        "memory_ratio": largest_bytes / idle_bytes,
        "answers": answers,
        "before": dict(Counter(before)),
        "afterwards": afterwards,
    }


def main(artifact: str, count: int, seconds: float) -> None:
    """Serve, measure, stop, and write the result down."""
    server = subprocess.Popen(
        [sys.executable, "-m", "penjing", "serve", artifact, "--port", str(PORT), "--threads", str(THREADS)],
        stderr=subprocess.DEVNULL,
    )
    try:
        document = measure(artifact, server.pid, count, seconds)
    finally:
        server.terminate()
        exit_code = server.wait(60)
    write("hostile", {**document, "exit_code": exit_code})


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("artifact")
    parser.add_argument("--seconds", type=float, default=30.0)
    parser.add_argument("--clients", type=int, default=200)
    parser.add_argument("--attack", action="store_true")
    arguments = parser.parse_args()
    if arguments.attack:
        attack(arguments.clients, arguments.seconds)
    else:
        main(arguments.artifact, arguments.clients, arguments.seconds)
