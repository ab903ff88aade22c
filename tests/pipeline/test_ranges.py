"""Layers that clip their activations under one kind of shift refuse, whatever the mean over kinds says."""

from __future__ import annotations

import pytest

from penjing.evaluate.goals import parse_goals
from penjing.evaluate.tolerance import OUT_OF_RANGE, shift_goals
from penjing.pipeline.measure import Comparison, with_ranges
from penjing.pipeline.ranges import SiteRange, out_of_range, range_warnings
from penjing.values import Measures, Metric

GOALS = shift_goals(parse_goals(["wer<=+0.01"]), ranges=True)


def compared(ranges: tuple[SiteRange, ...]) -> Comparison:
    wer = {name: Metric(0.05, 0.0, 0.1, 60) for name in ("wer", "shifted/wer")}
    measures = Measures("x", 1, metrics=wer)
    return with_ranges(Comparison(measures, measures), ranges, shifted=True)


def missed(comparison: Comparison) -> list[str]:
    checked = [goal.check(comparison.source, comparison.result) for goal in GOALS]
    return [result.metric for result in checked if not result.met]


def test_goals_on_quality_bring_one_on_ranges():
    assert [goal.text for goal in GOALS] == ["shifted/wer<=+0.02", "shifted/out_of_range<=0.01"]
    assert shift_goals(parse_goals(["size_bytes<=30%"]), ranges=True) == ()
    assert len(shift_goals(parse_goals(["wer<=+0.01", "shifted/out_of_range<=0.5"]), ranges=True)) == 1


@pytest.mark.parametrize(
    ("share", "refused"), [(0.0, []), (0.009, []), (0.011, [OUT_OF_RANGE]), (0.61, [OUT_OF_RANGE])]
)
def test_the_worst_site_under_the_worst_kind_counts(share, refused):
    ranges = (SiteRange("conv1", "encoder", 0.0, share, "gain_down"), SiteRange("fc1", "encoder", 0.0, 0.0, "babble"))
    assert missed(compared(ranges)) == refused


def test_a_tower_without_ranges_clips_nothing():
    assert out_of_range(()).value == 0.0
    assert missed(compared(())) == []


def test_without_shift_there_is_no_such_metric():
    measures = Measures("x", 1)
    ranges = (SiteRange("conv1", "encoder", 0.5, None),)
    comparison = with_ranges(Comparison(measures, measures), ranges, shifted=False)
    assert OUT_OF_RANGE not in comparison.result.metrics
    assert comparison.ranges == ranges


def test_the_warning_names_the_site_the_share_and_the_kind():
    ranges = (SiteRange("conv1", "encoder", 0.0, 0.61, "gain_down"), SiteRange("fc1", "encoder", 0.0, 0.0005, "codec"))
    (warning,) = range_warnings(ranges)
    assert "at 1 site " in warning
    assert "conv1 (61% under gain_down)" in warning
    assert range_warnings(ranges[1:]) == []
