"""What all routes share: models, limits, and threads in which requests are read."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from penjing.runtimes.engine import available_cores
from penjing.serve.limits import Limits
from penjing.serve.refusals import full
from penjing.serve.shelf import Shelf

Made = TypeVar("Made")


class Desk:
    """Where requests come in."""

    def __init__(self, shelf: Shelf, limits: Limits) -> None:
        self.shelf, self.limits = shelf, limits
        self._readers = ThreadPoolExecutor(available_cores(), thread_name_prefix="reader")
        self._reading = 0

    async def aside(self, read: Callable[[], Made]) -> Made:
        """Decode something in a thread, so that others are heard meanwhile; refused where as many wait as may."""
        if self._reading >= self.limits.waiting:
            raise full()
        self._reading += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._readers, read)
        finally:
            self._reading -= 1

    def close(self) -> None:
        """Let all threads end; nobody waits for what they still do."""
        self._readers.shutdown(wait=False, cancel_futures=True)
        self.shelf.close()
