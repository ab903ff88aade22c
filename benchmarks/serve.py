"""A server and its clients on one machine: serve.py ARTIFACT [--pictures FOLDER] [--overload]

`penjing serve ARTIFACT` with two threads; clients are threads of another process that keep their connections. Requests
are embeddings: of passages of the built-in knowledge, one a request, or of pictures of a folder as data URIs. In turns:
one client, sixteen clients, and the bare engine on batches of sixteen in a process of its own; medians of the rounds.
Then 10,000 requests (2,000 of pictures), with the server's memory before and after them, and with --overload 640
clients for 30 s, ten times what the line holds, with a client alone before and afterwards.
"""

from __future__ import annotations

import argparse
import base64
import http.client
import json
import statistics
import subprocess
import sys
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any

from timing import THREADS, write

PORT, ROUND_S, ROUNDS, MANY, MANY_PICTURES = 8765, 8.0, 3, 10_000, 2_000


def payloads(pictures: str | None, model: str) -> list[bytes]:
    """Bodies of requests."""
    if pictures:
        files = sorted(path for path in Path(pictures).rglob("*") if path.suffix in (".png", ".jpg"))[:200]
        given = [f"data:image/png;base64,{base64.b64encode(path.read_bytes()).decode()}" for path in files]
    else:
        from penjing.apps.confidence import builtin_folder
        from penjing.data.knowledge import read_knowledge

        given = [passage.text for passage in read_knowledge(builtin_folder() / "knowledge")]
    return [json.dumps({"model": model, "input": one, "encoding_format": "base64"}).encode() for one in given]


def clients(
    count: int, bodies: list[bytes], seconds: float, most: int | None = None
) -> tuple[Counter[int], list[float], float]:
    """So many clients, each asking as fast as it is answered: statuses, milliseconds of answers, seconds in all."""
    statuses, times, lock, left = Counter[int](), [], threading.Lock(), [most or 10**9]
    end = time.perf_counter() + seconds

    def ask(number: int) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", PORT, timeout=120)
        turn = number
        while time.perf_counter() < end:
            with lock:
                left[0] -= 1
                if left[0] < 0:
                    return
            start = time.perf_counter()
            connection.request(
                "POST", "/v1/embeddings", bodies[turn % len(bodies)], {"Content-Type": "application/json"}
            )
            answer = connection.getresponse()
            answer.read()
            with lock:
                statuses[answer.status] += 1
                if answer.status == 200:
                    times.append(1000 * (time.perf_counter() - start))
            if answer.getheader("connection") == "close":
                connection.close()
            turn += count

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(count)]
    start = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return statuses, times, time.perf_counter() - start


def bare(artifact: str, pictures: str | None) -> float:
    """Items a second of the engine on batches of sixteen, in a process of its own."""
    command = [sys.executable, __file__, artifact, "--bare", *(["--pictures", pictures] if pictures else [])]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return float(done.stdout.splitlines()[-1])


def run_bare(artifact: str, pictures: str | None) -> None:
    import penjing
    from penjing.serve.media import decoded

    runner = penjing.load(artifact, threads=THREADS, warm_up=False)
    kind = "image" if pictures else "text"
    given = [json.loads(body)["input"] for body in payloads(pictures, "")]
    read = [runner.read(decoded(one, "")[1] if pictures else one, kind) for one in given]
    batches = [read[first : first + 16] for first in range(0, len(read) - 15, 16)]
    runner.embed_read(batches[0], kind)
    done, start = 0, time.perf_counter()
    while time.perf_counter() - start < ROUND_S:
        for batch in batches:
            runner.embed_read(batch, kind)
            done += len(batch)
    print(done / (time.perf_counter() - start))


def ready() -> bool:
    """Whether the server answers."""
    connection = http.client.HTTPConnection("127.0.0.1", PORT, timeout=5)
    try:
        connection.request("GET", "/health")
        return connection.getresponse().status == 200
    except OSError:
        return False


def resident(process: int) -> int:
    """Bytes of memory that a process holds."""
    import psutil

    return int(psutil.Process(process).memory_info().rss)


def main(artifact: str, pictures: str | None, overload: bool) -> None:
    server = subprocess.Popen(
        [sys.executable, "-m", "penjing", "serve", artifact, "--port", str(PORT), "--threads", str(THREADS)],
        stderr=subprocess.DEVNULL,
    )
    try:
        document = measure(artifact, pictures, overload, server.pid)
    finally:
        server.terminate()
        document_code = server.wait(60)
    write("serve-pictures" if pictures else "serve", {**document, "exit_code": document_code})


def measure(artifact: str, pictures: str | None, overload: bool, process: int) -> dict[str, Any]:
    bodies = payloads(pictures, Path(artifact).resolve().name)
    while not ready():
        time.sleep(0.3)
    clients(16, bodies, 3)  # every size of a batch once
    rates: dict[str, list[float]] = {"one": [], "sixteen": [], "engine": []}
    late, errors = [], 0
    for _ in range(ROUNDS):
        for name, count in (("one", 1), ("sixteen", 16)):
            statuses, times, seconds = clients(count, bodies, ROUND_S)
            rates[name].append(len(times) / seconds)
            errors += sum(number for status, number in statuses.items() if status != 200)
            if count > 1:
                late += times
        rates["engine"].append(bare(artifact, pictures))
    found: dict[str, Any] = {name: statistics.median(values) for name, values in rates.items()}
    found["rounds"], found["errors"] = rates, errors
    found["sixteen_to_one"] = found["sixteen"] / found["one"]
    found["sixteen_to_engine"] = found["sixteen"] / found["engine"]
    found["p50_ms"], found["p99_ms"] = statistics.median(late), sorted(late)[int(0.99 * len(late))]
    before = resident(process)
    statuses, _, _ = clients(16, bodies, 600, MANY_PICTURES if pictures else MANY)
    found["memory"] = {"before": before, "after": resident(process), "requests": sum(statuses.values())}
    if overload:
        alone = clients(1, bodies, 3)[1]
        statuses, times, _ = clients(640, bodies, 30)
        after = clients(1, bodies, 3)[1]
        every = (("alone, before", alone), ("answered", times), ("alone, after", after))
        medians = {name: statistics.median(some) for name, some in every}
        found["overload"] = {"statuses": dict(statuses), "p50_ms": medians}
    print(json.dumps(found, indent=1))
    return found


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("artifact")
    parser.add_argument("--pictures")
    parser.add_argument("--overload", action="store_true")
    parser.add_argument("--bare", action="store_true")
    given = parser.parse_args()
    if given.bare:
        run_bare(given.artifact, given.pictures)
    else:
        main(given.artifact, given.pictures, given.overload)
