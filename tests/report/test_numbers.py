"""Numbers as text, at the edges of their units."""

from __future__ import annotations

import pytest

from penjing.report.document import GoalPart
from penjing.report.numbers import (
    bytes_text,
    count_text,
    difference_text,
    factor_text,
    label,
    ms_text,
    seconds_text,
    share_text,
    shortfall_text,
    value_text,
)

pytestmark = pytest.mark.shop


@pytest.mark.parametrize(
    ("function", "value", "text"),
    [
        (bytes_text, None, "–"),
        (bytes_text, 0, "0 bytes"),
        (bytes_text, 999, "999 bytes"),
        (bytes_text, 999_600, "1.00 MB"),
        (bytes_text, 37_800_000, "37.8 MB"),
        (bytes_text, 151_042_560, "151 MB"),
        (bytes_text, 4_200_000_000_000, "4200 GB"),
        (ms_text, 0.8412, "0.84 ms"),
        (ms_text, 12.34, "12.3 ms"),
        (ms_text, 148.4, "148 ms"),
        (ms_text, 1234.0, "1.23 s"),
        (ms_text, None, "–"),
        (seconds_text, 104.62, "104.6 s"),
        (seconds_text, 200.0, "3 min 20 s"),
        (seconds_text, None, "–"),
        (count_text, 9999, "9999"),
        (count_text, 24_576, "24.6 k"),
        (count_text, 37_760_640, "37.8 M"),
        (count_text, 12_400_000_000, "12.4 G"),
        (count_text, None, "–"),
        (share_text, 0.0523, "5.2%"),
        (share_text, 0.00042, "0.042%"),
        (share_text, 0.0, "0.0%"),
        (share_text, -0.5, "−50.0%"),
        (share_text, None, "–"),
    ],
)
def test_units(function, value, text):
    assert function(value) == text


@pytest.mark.parametrize(
    ("metric", "value", "text"),
    [
        ("wer", 0.0412, "4.1%"),
        ("vqa/accuracy", 0.5, "50.0%"),
        ("size_bytes", 1e6, "1.00 MB"),
        ("p50_ms", 12.34, "12.3 ms"),
        ("cosine", 0.99987, "0.9999"),
        ("beauty", -2.0, "−2"),
        ("wer", None, "–"),
    ],
)
def test_values_in_their_own_unit(metric, value, text):
    assert value_text(metric, value) == text


@pytest.mark.parametrize(
    ("metric", "difference", "text"),
    [
        ("wer", 0.0034, "+0.3 points"),
        ("accuracy", -0.021, "−2.1 points"),
        ("accuracy", 0.0001, "±0 points"),
        ("perplexity", 0.25, "+0.25"),
        ("cosine", 0.0, "±0"),
        ("cosine", None, "–"),
    ],
)
def test_differences(metric, difference, text):
    assert difference_text(metric, difference) == text


@pytest.mark.parametrize(
    ("metric", "before", "after", "text"),
    [
        ("size_bytes", 100, 25, "4.00× smaller"),
        ("size_bytes", 100, 110, "1.10× larger"),
        ("p50_ms", 50.0, 20.0, "2.50× faster"),
        ("p50_ms", 20.0, 50.0, "2.50× slower"),
        ("peak_rss_bytes", 100, 50, "2.00× less"),
        ("p50_ms", 20.0, 20.01, "the same"),
        ("p50_ms", None, 50.0, "–"),
        ("size_bytes", 100, 0, "–"),
    ],
)
def test_factors(metric, before, after, text):
    assert factor_text(metric, before, after) == text


def test_labels():
    assert label("image_to_text_recall_at_1") == "image → text recall@1"
    assert label("vqa/accuracy") == "vqa: accuracy"
    assert label("text_to_audio_median_rank") == "text → audio median rank"


def test_a_missed_goal_says_by_how_much():
    goal = GoalPart(goal="wer<=+0.01", metric="wer", source=0.05, value=0.083, limit=0.06, met=False)
    assert (
        shortfall_text(goal) == "word error rate is 8.3%, the goal wer<=+0.01 allows at most 6.0%: missed by 2.3 points"
    )
    goal = GoalPart(goal="size_bytes<100%", metric="size_bytes", source=100, value=100, limit=100, met=False)
    assert shortfall_text(goal).endswith("allows at most 100 bytes")
    goal = GoalPart(goal="accuracy>=0.5", metric="accuracy", value=None, limit=0.5, met=False, note="not measured")
    assert shortfall_text(goal) == "accuracy: not measured (goal accuracy>=0.5)"
