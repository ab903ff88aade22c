"""The waterfall of a run: a panel for bytes, milliseconds and each metric; nothing where there is nothing to show."""

from __future__ import annotations

import pytest

pytest.importorskip("matplotlib")

from penjing.report.document import parse
from penjing.report.waterfall import steps_plot

STAGES = [
    {"name": "source", "size_bytes": 100_000_000, "p50_ms": 40.0, "metrics": {"wer": 0.05}},
    {"name": "width", "size_bytes": 70_000_000, "p50_ms": 30.0, "metrics": {"wer": 0.06}},
    {"name": "rtn", "size_bytes": 20_000_000, "p50_ms": 31.0, "metrics": {"wer": 0.06}},
]


def test_every_step_has_its_numbers():
    svg = steps_plot(parse({"published": True, "stages": STAGES}))
    for text in ("source", "1. width", "2. rtn", "100 MB", "70.0 MB", "20.0 MB", "30.0 ms", "6.0%", "word error rate"):
        assert f">{text}<" in svg, text
    assert "aria-label" in svg
    assert "#0000" not in svg


@pytest.mark.parametrize("stages", [[], STAGES[:2]])
def test_a_run_that_was_not_shown_has_none(stages):
    assert steps_plot(parse({"published": True, "stages": stages})) == ""


def test_a_number_that_was_not_measured_leaves_its_panel_out():
    stages = [{**stage, "p50_ms": None} for stage in STAGES]
    svg = steps_plot(parse({"published": True, "stages": stages}))
    assert "time per item" not in svg
    assert "size of model files" in svg
