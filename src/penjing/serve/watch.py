"""What a server tells of itself: a line of JSON for every request, numbers for Prometheus. No contents are told."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable
from functools import partial
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from penjing.serve.shelf import Shelf
from penjing.serve.worker import Worker

log = logging.getLogger("penjing.serve")
BUCKETS_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120)

WORKERS: tuple[tuple[str, str, Callable[[Worker], int]], ...] = (
    ("waiting", "Items and calls that are not done.", lambda worker: worker.waiting),
    ("batches", "Runs that embedded.", lambda worker: worker.batches),
    ("batched_items", "Items that were embedded.", lambda worker: worker.batched),
)
"""What is told of each model."""


class Lines(logging.Formatter):
    """A line of JSON for whatever is logged: requests as `Watch` tells them, all else with its level and origin."""

    def format(self, record: logging.LogRecord) -> str:
        """One line."""
        if record.name == log.name and record.levelno == logging.INFO:
            return record.getMessage()
        told = {"time": record.created, "level": record.levelname, "logger": record.name}
        trace = {"trace": self.formatException(record.exc_info)} if record.exc_info else {}
        return json.dumps({**told, "message": record.getMessage(), **trace})


def log_to_stderr() -> None:
    """Log what is served and what goes wrong; parsers of forms, which would tell contents, are silent."""
    handler = logging.StreamHandler()
    handler.setFormatter(Lines())
    log.setLevel(logging.INFO)
    for logger in (log, logging.getLogger("uvicorn.error")):
        logger.addHandler(handler)
        logger.propagate = False
    for name in ("python_multipart", "multipart"):
        logging.getLogger(name).setLevel(logging.CRITICAL)


class Watch:
    """Counts requests by route and status; paths that are none of ours count as one."""

    def __init__(self, shelf: Shelf) -> None:
        self._registry = CollectorRegistry()
        self._requests = Counter(
            "penjing_requests", "Requests by route and status.", ("route", "status"), registry=self._registry
        )
        self._seconds = Histogram(
            "penjing_request_seconds", "From the request to the last byte of its answer.", ("route",),
            buckets=BUCKETS_S, registry=self._registry,
        )  # fmt: skip
        for name, text, read in WORKERS:
            gauge = Gauge(f"penjing_{name}", text, ("model",), registry=self._registry)
            for model in shelf.models.values():
                gauge.labels(model.name).set_function(partial(read, model.worker))

    def page(self) -> bytes:
        """All numbers, as Prometheus reads them."""
        found: bytes = generate_latest(self._registry)
        return found

    def done(self, scope: dict[str, Any], status: int, began: float, sent_bytes: int) -> None:
        """Note a request that is over."""
        route = getattr(scope.get("route"), "path", "other")
        seconds = time.perf_counter() - began
        self._requests.labels(route, status).inc()
        self._seconds.labels(route).observe(seconds)
        line = {"time": time.time(), "method": scope["method"], "path": scope["path"], "status": status,
                "ms": round(1000 * seconds, 2), "bytes": sent_bytes}  # fmt: skip
        log.info(json.dumps(line))
