"""One model at work for many: items of several requests go through it together, a few may wait, more are refused.

Nothing waits for company: when the model is free, whatever waits by then goes, at most so many at once.
"""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, TypeVar

from penjing.serve.limits import Limits
from penjing.serve.refusals import full

Made = TypeVar("Made")
END = object()


@dataclass(eq=False, slots=True)
class Waiting:
    """An item that was read, and who waits for its vector."""

    read: Any
    modality: str
    answer: asyncio.Future[Any]


class Worker:
    """Runs a model in a thread of its own, one thing at a time, in order. Whoever else uses it holds its `lock`."""

    def __init__(self, runner: Any, limits: Limits) -> None:
        self.runner, self._limits = runner, limits
        self.lock = threading.Lock()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="model")
        self._items: deque[Waiting] = deque()
        self._calls: set[Future[Any]] = set()
        self._embedded = 0
        self._embedding: asyncio.Task[None] | None = None
        self.batches = self.batched = 0

    @property
    def waiting(self) -> int:
        """Items and calls that are not done, among them a call that runs on though nobody waits for it any more."""
        return len(self._items) + self._embedded + len(self._calls)

    async def embed(self, read: Sequence[Any], modality: str) -> list[Any]:
        """Vectors of items that were read; who finds room in the line brings all of them."""
        if self.waiting >= self._limits.waiting:
            raise full()
        loop = asyncio.get_running_loop()
        mine = [Waiting(one, modality, loop.create_future()) for one in read]
        self._items.extend(mine)
        if self._embedding is None or self._embedding.done():
            self._embedding = asyncio.create_task(self._work())
        try:
            return [await one.answer for one in mine]
        finally:
            for one in mine:
                one.answer.cancel()  # no effect where it was answered

    async def _work(self) -> None:
        """Embed what waits until nothing does."""
        loop = asyncio.get_running_loop()
        while batch := self._next():
            self._embedded = len(batch)
            found = await loop.run_in_executor(self._thread, self._embed, batch)
            self._embedded = 0
            for one, vector in zip(batch, found, strict=True):
                if one.answer.done():  # who asked has left
                    continue
                if isinstance(vector, Exception):
                    one.answer.set_exception(vector)
                else:
                    one.answer.set_result(vector)

    def _next(self) -> list[Waiting]:
        """The longest waiting items of one modality; nobody's are left out of the line."""
        self._items = deque(one for one in self._items if not one.answer.done())
        if not self._items:
            return []
        modality = self._items[0].modality
        batch: list[Waiting] = []
        rest = deque[Waiting]()
        for one in self._items:
            (batch if one.modality == modality and len(batch) < self._limits.together else rest).append(one)
        self._items = rest
        return batch

    def _embed(self, batch: Sequence[Waiting]) -> list[Any]:
        """Vectors of a batch; where it fails, of each alone, so that one item spoils no other's answer."""
        self.batches, self.batched = self.batches + 1, self.batched + len(batch)
        try:
            with self.lock:
                return [*self.runner.embed_read([one.read for one in batch], batch[0].modality)]
        except Exception as error:
            return [error] if len(batch) == 1 else [self._embed([one])[0] for one in batch]

    async def call(self, function: Callable[[], Made]) -> Made:
        """What a function gives that uses the model; one that has not begun when its caller leaves never does."""

        def alone() -> Made:
            with self.lock:
                return function()

        return await asyncio.wrap_future(self._in_line(alone))

    async def stream(self, begin: Callable[[], Iterator[Made]]) -> AsyncIterator[Made]:
        """What an iterator that uses the model gives, as soon as it is there; who leaves ends it, and does not wait."""
        loop, pieces, left = asyncio.get_running_loop(), asyncio.Queue[Any](), threading.Event()

        def run() -> None:
            try:
                with self.lock:
                    for piece in begin():
                        if left.is_set():
                            return
                        loop.call_soon_threadsafe(pieces.put_nowait, piece)
                loop.call_soon_threadsafe(pieces.put_nowait, END)
            except Exception as error:
                if not left.is_set():
                    loop.call_soon_threadsafe(pieces.put_nowait, error)

        job = self._in_line(run)
        try:
            while (piece := await pieces.get()) is not END:
                if isinstance(piece, Exception):
                    raise piece
                yield piece
            await asyncio.wrap_future(job)
        finally:
            left.set()
            job.cancel()  # no effect once it has begun

    def _in_line(self, function: Callable[[], Made]) -> Future[Made]:
        """A call that counts until it is over, whoever still waits for it."""
        if self.waiting >= self._limits.waiting:
            raise full()
        job = self._thread.submit(function)
        self._calls.add(job)
        job.add_done_callback(self._calls.discard)
        return job

    def close(self) -> None:
        """Let the thread end. What it still does was given up by whoever asked, so it is not waited for."""
        self._thread.shutdown(wait=False, cancel_futures=True)
