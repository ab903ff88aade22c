"""Numbers as people read them: bytes, milliseconds, percents, changes."""

from __future__ import annotations

from penjing.evaluate.catalogue import SHIFTED, MetricKind, find_kind
from penjing.report.document import GoalPart

NOTHING = "–"
MINUS = "−"
LABELS = {
    "size_bytes": "size of model files",
    "checkpoint_bytes": "size, source as on disk",
    "p50_ms": "time per item, median",
    "p95_ms": "time per item, p95",
    "peak_rss_bytes": "peak memory",
    "wer": "word error rate",
    "cer": "character error rate",
    "logit_kl": "logit divergence (KL)",
    "bleu": "BLEU",
    "chrf": "chrF",
    "cosine": "output cosine",
    "out_of_range": "activations out of range",
    "spearman": "rank correlation (Spearman)",
}
_UNKNOWN = MetricKind(higher_is_better=True, unit="number")


def label(metric: str) -> str:
    """Name a measure in words: `image_to_text_recall_at_1` -> `image → text recall@1`."""
    if metric.startswith(SHIFTED):
        return f"{label(metric.removeprefix(SHIFTED))}, shifted"
    task, _, name = metric.rpartition("/")
    words = LABELS.get(name) or name.replace("_at_", "@").replace("_to_", " → ").replace("_", " ")
    return f"{task}: {words}" if task else words


def bytes_text(count: float | None) -> str:
    """Bytes in powers of 1000: 37_800_000 -> `37.8 MB`."""
    if count is None:
        return NOTHING
    size = float(count)
    for unit in ("bytes", "kB", "MB", "GB"):
        if abs(size) < 999.5 or unit == "GB":
            return f"{size:.0f} {unit}" if unit == "bytes" else f"{_three_digits(size)} {unit}"
        size /= 1000
    raise AssertionError("unreachable")


def ms_text(ms: float | None) -> str:
    """Milliseconds with three digits; seconds from 1000 on."""
    if ms is None:
        return NOTHING
    return f"{_three_digits(ms / 1000)} s" if abs(ms) >= 999.5 else f"{_three_digits(ms)} ms"


def seconds_text(seconds: float | None) -> str:
    """Seconds, or minutes and seconds from two minutes on."""
    if seconds is None:
        return NOTHING
    return f"{seconds:.1f} s" if seconds < 119.95 else f"{round(seconds) // 60} min {round(seconds) % 60} s"


def count_text(count: int | None) -> str:
    """A count in thousands, millions, billions: 37_760_640 -> `37.8 M`."""
    if count is None:
        return NOTHING
    for limit, unit in ((1e9, "G"), (1e6, "M"), (1e4, "k")):
        if count >= limit:
            return f"{_three_digits(count / (1e3 if unit == 'k' else limit))} {unit}"
    return str(count)


def share_text(share: float | None) -> str:
    """A share in percent: 0.05234 -> `5.2%`, small ones with two digits."""
    if share is None:
        return NOTHING
    percent = share * 100
    return f"{percent:.2g}%".replace("-", MINUS) if 0 < abs(percent) < 0.1 else f"{percent:.1f}%".replace("-", MINUS)


def value_text(metric: str, value: float | None) -> str:
    """A measure in its own unit."""
    if value is None:
        return NOTHING
    match kind_of(metric).unit:
        case "bytes":
            return bytes_text(value)
        case "ms":
            return ms_text(value)
        case "share":
            return share_text(value)
        case "number":
            return f"{value:.4g}".replace("-", MINUS)


def difference_text(metric: str, difference: float | None, unit: bool = True) -> str:
    """A signed change of a quality: shares in points, other metrics in their own numbers."""
    if difference is None:
        return NOTHING
    is_share = kind_of(metric).unit == "share"
    text = f"{difference * 100:+.1f}" if is_share else f"{difference:+.3g}"
    text = "±0" if float(text) == 0 else text.replace("-", MINUS)
    return f"{text} points" if is_share and unit else text


def factor_text(metric: str, before: float | None, after: float | None) -> str:
    """How a resource shrank or grew: `3.6× smaller`, `1.2× slower`."""
    if not before or not after:
        return NOTHING
    less, more = {"bytes": ("smaller", "larger")}.get(kind_of(metric).unit, ("faster", "slower"))
    if metric == "peak_rss_bytes":
        less, more = "less", "more"
    factor = max(before / after, after / before)
    return "the same" if factor < 1.005 else f"{_three_digits(factor)}× {less if after < before else more}"


def shortfall_text(goal: GoalPart) -> str:
    """Say by how much a goal was missed, in one sentence."""
    name = label(goal.metric)
    if goal.value is None or goal.limit is None:
        return f"{name}: {goal.note or 'not measured'} (goal {goal.goal})"
    unit = kind_of(goal.metric).unit
    gap = abs(goal.value - goal.limit)
    by = f"{gap * 100:.1f} points" if unit == "share" else value_text(goal.metric, gap)
    asks = "asks for at least" if ">" in goal.goal else "allows at most"
    at = f"{value_text(goal.metric, goal.value)}, the goal {goal.goal} {asks} {value_text(goal.metric, goal.limit)}"
    return f"{name} is {at}" + (f": missed by {by}" if gap else "")


def kind_of(metric: str) -> MetricKind:
    """What is known of a measure; a plain number where nothing is."""
    return find_kind(metric) or _UNKNOWN


def _three_digits(value: float) -> str:
    """Three significant digits without an exponent."""
    size = abs(value)
    return f"{value:.0f}" if size >= 99.95 else f"{value:.1f}" if size >= 9.995 else f"{value:.2f}"
