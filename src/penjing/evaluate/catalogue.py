"""What is known of every measure by its name: which way is better, its unit, and what the default gate allows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from penjing.errors import RecipeError, did_you_mean

Unit = Literal["share", "bytes", "ms", "number"]

RESOURCES = ("size_bytes", "checkpoint_bytes", "p50_ms", "p95_ms", "peak_rss_bytes")
"""Measures that are fields of `Measures`; all other names are keys of `Measures.metrics`."""

SHIFTED = "shifted/"
"""Prefix of a metric that is measured on shifted test rows: `shifted/wer`."""

RECALL_AT = (1, 5, 10)
DIRECTIONS = ("image_to_text", "text_to_image", "audio_to_text", "text_to_audio", "image_to_audio", "audio_to_image")


@dataclass(frozen=True, slots=True)
class MetricKind:
    """How to read a measure. `allowance` is operator and right side of its default goal; empty: it has none.

    A `share` lies between 0 and 1 and is shown in percent; its changes are called points (1 point = 0.01).
    """

    higher_is_better: bool
    unit: Unit
    allowance: str = ""


KINDS: Mapping[str, MetricKind] = {
    "size_bytes": MetricKind(False, "bytes", "<100%"),
    "checkpoint_bytes": MetricKind(False, "bytes"),
    "p50_ms": MetricKind(False, "ms"),
    "p95_ms": MetricKind(False, "ms"),
    "peak_rss_bytes": MetricKind(False, "bytes"),
    "wer": MetricKind(False, "share", "<=+0.01"),
    "cer": MetricKind(False, "share", "<=+0.01"),
    "accuracy": MetricKind(True, "share", ">=-0.01"),
    "spearman": MetricKind(True, "share", ">=-0.01"),
    "truth": MetricKind(True, "share", ">=-0.01"),
    "perplexity": MetricKind(False, "number", "<=+2%"),
    "cosine": MetricKind(True, "number", ">=0.99"),
    "logit_kl": MetricKind(False, "number"),
    "out_of_range": MetricKind(False, "share", "<=0.01"),
    "bleu": MetricKind(True, "number", ">=-1"),
    "chrf": MetricKind(True, "number", ">=-1"),
    **{f"recall_at_{k}": MetricKind(True, "share", ">=-0.01") for k in RECALL_AT},
    **{f"{way}_recall_at_{k}": MetricKind(True, "share", ">=-0.01") for way in DIRECTIONS for k in RECALL_AT},
    **{f"{way}_median_rank": MetricKind(False, "number") for way in DIRECTIONS},
}
"""Every measure a goal may name. `bleu` and `chrf` run from 0 to 100, so their point is 1."""

TASK_METRICS = ("wer", "accuracy", "truth", "perplexity", "recall_at_1", "bleu", "spearman")
"""What a task is judged by; the first-class metric of each task, gated by default."""


def find_kind(name: str) -> MetricKind | None:
    """Return what is known of a measure, with or without its task (`vqa/accuracy`), or None."""
    return KINDS.get(name.rpartition("/")[2])


def metric_kind(name: str) -> MetricKind:
    """Return what is known of a measure; an unknown name is an error that offers the nearest one."""
    kind = find_kind(name)
    if kind is None:
        bare = name.rpartition("/")[2]
        raise RecipeError(f"no measure called {bare!r}", hint=did_you_mean(bare, list(KINDS)))
    return kind
