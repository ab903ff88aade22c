"""What requests hold once they are decoded: letters, pixels and seconds of sound, of each request and of all together.

A few kilobytes can decode to hundreds of megabytes, so bytes of bodies say little about memory.
"""

from __future__ import annotations

import threading
from collections import Counter

from penjing.serve.limits import Limits
from penjing.serve.refusals import Refusal, full

UNITS = {"letters": "letters of text", "pixels": "pixels", "audio_s": "seconds of sound"}


class Budget:
    """Amounts that all requests hold together."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self.held: Counter[str] = Counter()
        self._most = {"pixels": limits.held_pixels, "audio_s": limits.held_audio_s}
        self._lock = threading.Lock()

    def take(self, unit: str, amount: float) -> None:
        """Take an amount for a request; a `Refusal` of 429 where others hold too much of it."""
        with self._lock:
            if self.held[unit] + amount > self._most.get(unit, float("inf")):
                raise full()
            self.held[unit] += amount  # type: ignore[assignment]

    def give_back(self, held: Counter[str]) -> None:
        """Take no longer what one request held."""
        with self._lock:
            self.held.subtract(held)


class Load:
    """Amounts of one request. Threads that decode its parts may share it."""

    def __init__(self, budget: Budget) -> None:
        limits = budget.limits
        self.limits = limits
        self._budget = budget
        self._held: Counter[str] = Counter()
        self._taken: Counter[str] = Counter()
        self._most = {"letters": limits.request_letters, "pixels": limits.request_pixels, "audio_s": limits.audio_s}
        self._lock = threading.Lock()

    def take(self, unit: str, amount: float) -> None:
        """Count letters, pixels or seconds of sound; a `Refusal` of 413 beyond what one request may have.

        What all requests hold together is a matter of 429.
        """
        with self._lock:
            if self._taken[unit] + amount > self._most[unit]:
                message = f"a request has {self._most[unit]:,.0f} {UNITS[unit]} at most, all its inputs together"
                raise Refusal(413, message, code="too_large")
            self._budget.take(unit, amount)
            self._taken[unit] += amount  # type: ignore[assignment]
            self._held[unit] += amount  # type: ignore[assignment]

    def let_go(self) -> None:
        """Hold nothing any more: what was decoded is done with. What one request may have in all still counts."""
        with self._lock:
            self._budget.give_back(self._held)
            self._held.clear()
