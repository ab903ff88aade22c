"""One model for many, without HTTP: order, company, who leaves, what a lock is for."""

from __future__ import annotations

import asyncio
import threading
import time

import numpy as np
import pytest

from penjing.data.chat import Message
from penjing.serve.assistant import Guarded, open_assistant
from penjing.serve.limits import Limits
from penjing.serve.refusals import Refusal
from penjing.serve.shelf import Served
from penjing.serve.worker import Worker
from tiny_colours import Colours, paint


class Counting:
    """Embeds a number as itself, and writes down what went together."""

    def __init__(self) -> None:
        self.batches: list[tuple[str, list[int]]] = []
        self.inside = 0
        self.gate = threading.Event()
        self.gate.set()

    def embed_read(self, read, modality):
        assert self.inside == 0
        self.inside += 1
        self.gate.wait(10)
        self.batches.append((modality, [*read]))
        time.sleep(0.005)
        self.inside -= 1
        return np.array(read, np.float32)[:, None]

    def generate(self, count):
        for number in range(count):
            assert self.inside == 0
            yield str(number)


def test_the_desk_sees_with_what_compares_where_the_knowledge_shows_pictures(tmp_path):
    class Captions(Colours):
        task = "image-to-text"

        def caption(self, picture):
            return "a colour"

    class Hears(Colours):
        modalities = ("audio", "text")

    models = [
        Served(name, tmp_path, Worker(runner, Limits()), 1)
        for name, runner in (("clap", Hears()), ("seedling", Captions()), ("clip", Colours()))
    ]
    photo = paint(tmp_path, "photo.png", (200, 30, 30))
    (tmp_path / "k").mkdir()
    (tmp_path / "k" / "a.md").write_text("# Red pot\n\nIt costs 12 euros.\n")
    said = [Message("user", "what is it")]
    assert open_assistant(str(tmp_path / "k"), models).reply(said, picture=photo).heard == "what is it a colour"
    paint(tmp_path / "k", "red.png", (201, 30, 30))
    (tmp_path / "k" / "a.md").write_text("# Red pot\n\n![pot](red.png) It costs 12 euros.\n")
    found = open_assistant(str(tmp_path / "k"), models).reply(said, picture=photo)
    assert found.heard == "what is it Red pot"
    only = open_assistant(str(tmp_path / "k"), models[2:]).reply([Message("user", "")], picture=photo)
    assert (only.heard, only.text) == ("Red pot", "pot It costs 12 euros.")


def test_items_go_in_order_and_kinds_by_themselves():
    async def ask(worker, model):
        model.gate.clear()
        asked = [asyncio.create_task(worker.embed([number], "text" if number % 3 else "image")) for number in range(12)]
        await asyncio.sleep(0.05)
        model.gate.set()
        return [await one for one in asked]

    model = Counting()
    found = asyncio.run(ask(Worker(model, Limits(together=4)), model))
    assert [int(vectors[0][0]) for vectors in found] == [*range(12)]
    assert model.batches[0] == ("image", [0, 3, 6, 9])
    for modality, read in model.batches:
        assert read == sorted(read)
        assert len(read) <= 4
        assert {bool(number % 3) for number in read} == {modality == "text"}


def test_a_request_larger_than_the_line_is_taken_where_there_is_a_place():
    async def ask(worker, model):
        model.gate.clear()
        first = asyncio.create_task(worker.embed([1], "text"))
        await asyncio.sleep(0.05)
        whole = asyncio.create_task(worker.embed([*range(20)], "text"))
        await asyncio.sleep(0.05)
        with pytest.raises(Refusal) as caught:
            await worker.embed([2], "text")
        model.gate.set()
        await first
        return await whole, caught.value

    model = Counting()
    worker = Worker(model, Limits(waiting=8))
    whole, refusal = asyncio.run(ask(worker, model))
    assert (len(whole), refusal.status, refusal.headers) == (20, 429, {"Retry-After": "1"})
    assert worker.waiting == 0


def test_who_leaves_while_waiting_costs_the_model_nothing():
    async def ask(worker, model):
        model.gate.clear()
        first = asyncio.create_task(worker.embed([1], "text"))
        await asyncio.sleep(0.05)
        second = asyncio.create_task(worker.embed([2], "text"))
        third = asyncio.create_task(worker.embed([3], "text"))
        await asyncio.sleep(0.05)
        second.cancel()
        await asyncio.sleep(0)
        model.gate.set()
        return [int((await one)[0][0]) for one in (first, third)]

    model = Counting()
    assert asyncio.run(ask(Worker(model, Limits()), model)) == [1, 3]
    assert [read for _, read in model.batches] == [[1], [3]]


def test_calls_streams_and_items_take_turns():
    async def ask(worker, model):
        async def streamed():
            return [piece async for piece in worker.stream(lambda: model.generate(50))]

        return await asyncio.gather(streamed(), worker.embed([7], "text"), worker.call(lambda: "called"), streamed())

    model = Counting()
    first, vectors, called, second = asyncio.run(ask(Worker(model, Limits()), model))
    assert first == second == [str(number) for number in range(50)]
    assert (int(vectors[0][0]), called) == (7, "called")


def test_an_error_in_a_stream_reaches_who_reads():
    def broken():
        yield "one"
        raise ValueError("no more")

    async def ask(worker):
        pieces, got = worker.stream(broken), []
        got.append(await anext(pieces))
        with pytest.raises(ValueError, match="no more"):
            await anext(pieces)
        return got, await worker.call(lambda: "still there")

    assert asyncio.run(ask(Worker(Counting(), Limits()))) == (["one"], "still there")


def test_a_stream_that_waits_ends_when_its_reader_leaves_and_never_begins():
    async def ask(worker, model):
        model.gate.clear()
        first = asyncio.create_task(worker.embed([1], "text"))
        await asyncio.sleep(0.05)
        begun, start = [], time.perf_counter()
        stream = worker.stream(lambda: begun.append("stream") or iter(()))
        for waits in (anext(stream), worker.call(lambda: begun.append("call"))):
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(waits, 0.1)
        waited = time.perf_counter() - start
        waiting = worker.waiting
        model.gate.set()
        await first
        return begun, waited, waiting, await worker.call(lambda: "next")

    model = Counting()
    begun, waited, waiting, after = asyncio.run(ask(Worker(model, Limits()), model))
    assert (begun, waiting, after) == ([], 1, "next")
    assert waited < 2  # the model was taken for as long as the gate is closed


@pytest.mark.parametrize("kind", ["call", "stream"])
def test_what_runs_on_for_nobody_counts_until_it_is_over(kind):
    goes_on = threading.Event()

    def runs():
        goes_on.wait(10)
        yield "one"

    async def ask(worker):
        begun = asyncio.Event()
        loop = asyncio.get_running_loop()

        def call():
            loop.call_soon_threadsafe(begun.set)
            return [*runs()]

        async def read():
            if kind == "call":
                return await worker.call(call)
            return [piece async for piece in worker.stream(lambda: iter(call()))]

        asked = asyncio.create_task(read())
        await begun.wait()
        asked.cancel()
        await asyncio.wait([asked], timeout=2)
        left, waiting = asked.cancelled(), worker.waiting
        with pytest.raises(Refusal):
            await worker.call(lambda: "refused")
        goes_on.set()
        deadline = time.perf_counter() + 10
        while worker.waiting and time.perf_counter() < deadline:
            await asyncio.sleep(0.01)
        return left, waiting, await worker.call(lambda: "next")

    assert asyncio.run(ask(Worker(Counting(), Limits(waiting=1)))) == (True, 1, "next")


def test_a_worker_closes_though_something_runs_on_for_nobody():
    goes_on, begun = threading.Event(), []

    async def ask(worker):
        for name in ("first", "second"):
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(worker.call(lambda name=name: begun.append(name) or goes_on.wait(20)), 0.1)
        start = time.perf_counter()
        worker.close()
        return time.perf_counter() - start

    try:
        assert asyncio.run(ask(Worker(Counting(), Limits()))) < 2
        assert begun == ["first"]
    finally:
        goes_on.set()


def test_a_guarded_model_is_used_by_one_at_a_time():
    model, lock = Counting(), threading.Lock()
    guarded = Guarded(model, lock)
    assert guarded.batches is model.batches
    lock.acquire()
    done = []
    thread = threading.Thread(target=lambda: done.append([*guarded.generate(3)]))
    thread.start()
    time.sleep(0.05)
    assert done == []
    lock.release()
    thread.join(10)
    assert done == [["0", "1", "2"]]
    assert guarded.embed_read([5], "text")[0][0] == 5
    assert not lock.locked()
    assert not hasattr(guarded, "transcribe")
