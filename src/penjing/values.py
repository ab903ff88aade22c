"""Frozen values that travel between rooms, with their units in their names. Torch-free."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
FloatArray = NDArray[np.float32]
Arrays = Mapping[str, Array]

Tell = Callable[[str, int, int], None]
"""Called with (what is being done, items done, items in all); (what, 0, 0) starts something uncounted.

What is done may end in ` · ` and a detail that changes from call to call: the terms of a loss.
"""
DETAIL = " · "


def silent(what: str, done: int, total: int) -> None:
    """Tell nobody."""


@dataclass(frozen=True, slots=True)
class Metric:
    """A measured quality with its 95% interval over n judged items."""

    value: float
    low: float
    high: float
    n: int

    def as_json(self) -> dict[str, float | int]:
        """Return the shape of design section 6."""
        return {"value": self.value, "low": self.low, "high": self.high, "n": self.n}


@dataclass(frozen=True, slots=True)
class Latency:
    """Wall time of one item through the whole task, after warm-up."""

    p50_ms: float
    p95_ms: float
    runs: int
    threads: int


@dataclass(frozen=True, slots=True)
class Measures:
    """What was measured of one model in one engine. None means not measured, never zero."""

    engine: str
    threads: int
    size_bytes: int | None = None
    p50_ms: float | None = None
    p95_ms: float | None = None
    peak_rss_bytes: int | None = None
    metrics: Mapping[str, Metric] = field(default_factory=dict)
    checkpoint_bytes: int | None = None
    """Bytes of a source's weight files on disk, two a parameter of a 16-bit checkpoint, where `size_bytes` counts four;
    of a result, its `size_bytes` once more, so that goals compare the two."""

    def as_json(self) -> dict[str, Any]:
        """Return the `measures` document of design section 6."""
        return {
            "size_bytes": self.size_bytes,
            "checkpoint_bytes": self.checkpoint_bytes,
            "p50_ms": self.p50_ms,
            "p95_ms": self.p95_ms,
            "peak_rss_bytes": self.peak_rss_bytes,
            "engine": self.engine,
            "threads": self.threads,
            "metrics": {name: metric.as_json() for name, metric in self.metrics.items()},
        }


FLOAT_BITS = 32.0


@dataclass(frozen=True, slots=True)
class Note:
    """What a method did to one site: the stored bits per weight and the relative error, or why it was left alone."""

    site: str
    method: str
    tower: str
    bits: float
    error: float = 0.0
    skipped: str = ""
    size_bytes: int = 0
    remark: str = ""
    """What is worth knowing of a site that was changed; the report warns of it."""
    change: str = ""
    """What became of its shape or of the work it does: `512 × 2048 → 512 × 1024`, `197 → 101 tokens`, `dropped`."""
    learned: bool = False
    """Whether its values were learned anew."""

    @property
    def is_changed(self) -> bool:
        """Whether the site has fewer bits than a float, does less or has learned; moving scales alone is nothing."""
        return not self.skipped and (self.bits < FLOAT_BITS or bool(self.change) or self.learned)

    def as_json(self) -> dict[str, Any]:
        """Return a plain dict; `skipped` is empty when the site was changed."""
        return {name: getattr(self, name) for name in self.__slots__}
