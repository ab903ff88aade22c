"""Many at once: items go together, a full line is refused, who leaves is forgotten, what was taken is finished."""

from __future__ import annotations

import http.client
import json
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from http_server import listening, shelf_of
from penjing.serve.limits import Limits


class Slow:
    """Embeds a text as its length; each run takes a while, whatever goes through."""

    task = "encoder"
    modalities = ("text",)

    def __init__(self, seconds: float = 0.05) -> None:
        self.settings = {"chat": {"begin": ""}}
        self.seconds = seconds
        self.runs: list[int] = []
        self.pieces = 0
        self.begun = threading.Event()

    def read(self, item, modality):
        return item

    def count_tokens(self, text):
        return len(text.split())

    def prompt_tokens(self, messages):
        return [0] * len(messages)

    def embed_read(self, read, modality):
        self.runs.append(len(read))
        time.sleep(self.seconds)
        if any("poison" in one for one in read):
            raise RuntimeError("a bug in the model")
        return np.array([[len(one), 1.0] for one in read], np.float32)

    def generate(self, messages, style):
        for _ in range(style.max_tokens):
            self.begun.set()
            self.pieces += 1
            yield "a "
            time.sleep(self.seconds)


def embed(running, text="x"):
    return running.post("/v1/embeddings", {"model": "model", "input": text})


def chat(running, **more):
    message = {"role": "user", "content": "hi"}
    return running.post("/v1/chat/completions", {"model": "model", "messages": [message], **more})


def test_what_waits_goes_together_and_everybody_gets_their_own(serving):
    runner = Slow()
    running = serving(runner)
    with ThreadPoolExecutor(16) as pool:
        answers = [*pool.map(lambda count: embed(running, "x" * count), range(1, 49))]
    assert [answer.json["data"][0]["embedding"][0] for answer in answers] == [*range(1, 49)]
    assert len(runner.runs) < 48 / 3
    assert max(runner.runs) <= Limits().together


def test_one_item_that_fails_spoils_no_other(serving):
    running = serving(Slow())
    texts = ["one", "poison", "three", "four four"]
    with ThreadPoolExecutor(4) as pool:
        answers = [*pool.map(lambda text: embed(running, text), texts)]
    assert [answer.status for answer in answers] == [200, 500, 200, 200]
    assert answers[1].json["error"]["code"] == "bug"
    assert "model" not in answers[1].json["error"]["message"]  # what broke is for the log


def test_a_full_line_is_refused_and_nothing_that_was_taken_is_lost(serving):
    runner = Slow(0.1)
    running = serving(runner, waiting=8, together=2)
    with ThreadPoolExecutor(40) as pool:
        answers = [*pool.map(lambda number: embed(running, "x" * (1 + number % 5)), range(120))]
    statuses = {answer.status for answer in answers}
    assert statuses == {200, 429}
    refused = next(answer for answer in answers if answer.status == 429)
    assert int(refused.headers["retry-after"]) >= 1
    assert sum(runner.runs) == sum(answer.status == 200 for answer in answers)
    start = time.perf_counter()
    assert embed(running).status == 200
    assert time.perf_counter() - start < 5


def test_what_takes_too_long_is_ended(serving):
    runner = Slow(0.05)
    running = serving(runner, timeout_s=0.4)
    assert chat(running, max_tokens=500).status == 504
    time.sleep(0.3)
    written = runner.pieces
    time.sleep(0.3)
    assert runner.pieces == written  # nobody writes on for nobody
    assert embed(running).status == 200


def test_who_hangs_up_ends_the_writing(serving):
    runner = Slow(0.02)
    running = serving(runner)
    connection = http.client.HTTPConnection("127.0.0.1", running.port, timeout=30)
    body = {"model": "model", "messages": [{"role": "user", "content": "hi"}], "stream": True, "max_tokens": 1000}
    connection.request("POST", "/v1/chat/completions", json.dumps(body), {"Content-Type": "application/json"})
    answer = connection.getresponse()
    answer.read(300)
    answer.close()
    connection.close()
    deadline = time.perf_counter() + 10
    while running.get("/health").json["waiting"]["model"] and time.perf_counter() < deadline:
        time.sleep(0.05)
    assert runner.pieces < 500
    assert embed(running).status == 200


def test_what_was_taken_is_finished_when_the_server_stops():
    runner, limits = Slow(0.1), Limits()
    with listening(shelf_of(runner, limits), limits) as running, ThreadPoolExecutor(1) as pool:
        answer = pool.submit(lambda: chat(running, max_tokens=15))
        assert runner.begun.wait(10)
        running.server.should_exit = True
        found = answer.result(30)
    assert (found.status, found.json["choices"][0]["message"]["content"]) == (200, "a " * 15)
    with pytest.raises(OSError, match=r"refused|reset"):
        running.get("/health")


def test_numbers_for_prometheus(serving):
    running = serving(Slow(0.0))
    embed(running)
    embed(running, "")
    running.get("/nowhere/else")
    told = running.get("/metrics").body.decode()
    assert 'penjing_requests_total{route="/v1/embeddings",status="200"} 1.0' in told
    assert 'penjing_requests_total{route="/v1/embeddings",status="400"} 1.0' in told
    assert 'penjing_requests_total{route="other",status="404"} 1.0' in told
    assert 'penjing_batched_items{model="model"} 1.0' in told
