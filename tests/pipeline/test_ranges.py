"""Layers that clip their activations under one kind of shift refuse, whatever the mean over kinds says."""

from __future__ import annotations

import pytest

from penjing.data.source import load_dataset
from penjing.data.split import split
from penjing.evaluate.goals import parse_goals
from penjing.evaluate.tolerance import OUT_OF_RANGE, shift_goals
from penjing.judge.shift import shift_test_rows
from penjing.methods import Aids, make
from penjing.models.open import open_model
from penjing.pipeline.measure import Comparison, with_ranges
from penjing.pipeline.ranges import SiteRange, out_of_range, range_warnings, site_ranges
from penjing.values import Measures, Metric, silent
from tiny_seedling import save_seedling

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


def test_shifted_rows_that_lack_a_modality_are_counted(tmp_path):
    """All inputs of a seedling come with every item, but a typed question has no sound."""
    model = open_model(str(save_seedling(tmp_path / "seedling")))
    batches = [model.family.probe(model.net, seed) for seed in range(2)]
    image = next(tower for tower in model.towers if tower.name == "image")
    make("static_int8", {"max_error": 100.0}).run(image, batches, Aids(model, batches, 0, tmp_path))
    rows = split(load_dataset("scenes")).judge
    typed = [row for row in rows if row.sound is None][:3]
    shifted = shift_test_rows("multimodal", typed, 0, tmp_path / "shifted")
    found = site_ranges(model, rows, shifted, silent)
    assert {site.tower for site in found} == {"image"}
    assert all(site.shifted is not None and site.kind for site in found)
