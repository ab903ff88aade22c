"""Many at once: items go together, a full line is refused, who leaves is forgotten, what was taken is finished."""

from __future__ import annotations

import http.client
import json
import logging
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from http_server import listening, shelf_of
from penjing.serve.limits import Limits
from tiny_runners import Slow


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


def test_a_stream_that_takes_too_long_says_so_at_its_end(serving, caplog):
    caplog.set_level(logging.INFO, "penjing.serve")
    running = serving(Slow(0.05), timeout_s=0.5)
    answer = chat(running, max_tokens=500, stream=True)
    events = answer.body.decode().strip().split("\n\n")
    assert len(events) > 2
    assert json.loads(events[-1].removeprefix("data: "))["error"]["code"] == "timeout"
    assert until(lambda: [json.loads(one.message)["status"] for one in caplog.records] == [504])


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


def until(said, seconds: float = 10.0) -> bool:
    """Whether something comes true in time."""
    deadline = time.perf_counter() + seconds
    while not said() and time.perf_counter() < deadline:
        time.sleep(0.02)
    return bool(said())


def test_what_waits_too_long_is_told_at_its_time(serving):
    runner = Slow(0.0)
    running = serving(runner, timeout_s=0.5)
    taken = threading.Event()
    runner.embed_read = lambda read, modality: taken.wait(6) and np.ones((len(read), 2), np.float32)
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(embed, running)
        assert until(lambda: running.get("/health").json["waiting"]["model"] == 1)
        start = time.perf_counter()
        assert chat(running, max_tokens=3).status == 504
        took = time.perf_counter() - start
        taken.set()
        assert first.result(10).status == 504
    assert took < 3
    assert embed(running).status == 200
    assert runner.pieces == 0  # it never began


def test_who_hangs_up_before_an_answer_is_forgotten(serving, caplog):
    runner = Slow(0.01)
    running = serving(runner)
    asked: list[str] = []
    write, goes_on = runner.generate, threading.Event()

    def generate(messages, style):
        asked.append(messages[-1].text)
        goes_on.wait(10)
        yield from write(messages, style)

    def asking(text):
        connection = http.client.HTTPConnection("127.0.0.1", running.port, timeout=30)
        body = {"model": "model", "messages": [{"role": "user", "content": text}], "max_tokens": 1000}
        connection.request("POST", "/v1/chat/completions", json.dumps(body), {"Content-Type": "application/json"})
        return connection

    def waiting():
        return running.get("/health").json["waiting"]["model"]

    runner.generate = generate
    with caplog.at_level(logging.INFO, "penjing.serve"):
        first = asking("first")
        assert until(lambda: asked == ["first"])
        second = asking("second")
        assert until(lambda: waiting() == 2)
        second.close()
        assert until(lambda: waiting() == 1)  # the one that waited is gone at once, the one that runs is still there
        first.close()
        assert until(lambda: caplog.text.count('"status": 499') == 2)
        goes_on.set()
        assert until(lambda: waiting() == 0)
    assert asked == ["first"]
    assert runner.pieces <= 1
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
