"""Rows of the tables: what is compared, what is worth a colour, what was left and why."""

from __future__ import annotations

import pytest

from penjing.report.coverage import bits_text, coverage
from penjing.report.document import MeasuresPart, parse
from penjing.report.rows import compare_measures, comparison, headlines, shortened

pytestmark = pytest.mark.shop


def test_the_published_example_row_by_row(published):
    rows = {row.metric: row for row in comparison(published)}
    assert list(rows) == ["size_bytes", "p50_ms", "p95_ms", "peak_rss_bytes", "wer", "cer"]
    wer = rows["wer"]
    assert (wer.reference, wer.source, wer.result, wer.change) == ("4.1%", "4.1%", "4.5%", "+0.3 points")
    assert wer.interval == "−0.5 … +1.2"
    assert (wer.met, wer.goals, wer.notes) == (True, ("wer<=+0.01",), ("not proven at n=60",))
    assert rows["p50_ms"].met is None
    assert rows["cer"].reference == "–"


def document(metric: str, before: float | None, after: float | None, **more):
    def side(value):
        return {"metrics": {metric: {"value": value}}} if value is not None else {}

    return parse({"published": True, "source": side(before), "result": side(after), **more})


@pytest.mark.parametrize(
    ("metric", "before", "after", "tone"),
    [
        ("accuracy", 0.5, 0.6, "good"),
        ("accuracy", 0.6, 0.5, "bad"),
        ("wer", 0.5, 0.6, "bad"),
        ("wer", 0.6, 0.5, "good"),
        ("wer", 0.5, 0.5, "plain"),
        ("wer", None, 0.5, "plain"),
    ],
)
def test_tone_follows_the_direction_of_the_metric(metric, before, after, tone):
    assert comparison(document(metric, before, after))[0].tone == tone


def test_a_change_within_its_interval_has_no_colour():
    unsure = {"changes": {"wer": {"value": 0.1, "low": -0.1, "high": 0.3, "n": 9}}}
    assert comparison(document("wer", 0.5, 0.6, **unsure))[0].tone == "plain"
    assert comparison(document("wer", 0.6, 0.5, **unsure))[0].tone == "plain"


def test_a_goal_decides_the_colour_of_what_got_worse():
    def goal(met):
        return {"goals": [{"goal": "wer<=+0.2", "metric": "wer", "met": met}]}

    assert comparison(document("wer", 0.5, 0.6, **goal(True)))[0].tone == "plain"
    assert comparison(document("wer", 0.5, 0.6, **goal(False)))[0].tone == "bad"


def test_headlines_are_size_time_and_the_task(published, refused):
    assert [row.metric for row in headlines(published)] == ["size_bytes", "p50_ms", "wer"]
    assert [row.metric for row in headlines(refused)] == ["size_bytes", "p50_ms", "recall_at_1"]
    assert [row.metric for row in headlines(document("cosine", 1, 0.99))] == ["cosine"]


def test_measures_alone_and_against_others(published):
    alone = compare_measures(published.result, None)
    assert {row.source for row in alone} == {"–"}
    assert {row.change for row in alone} == {"–"}
    assert compare_measures(published.result, published.source)[0].change == "3.60× smaller"
    assert compare_measures(MeasuresPart(), None) == []


def test_coverage_groups_by_method_and_by_reason(published):
    towers = {tower.tower: tower for tower in coverage(published)}
    assert list(towers) == ["encoder", "decoder", "embedding"]
    encoder = towers["encoder"]
    assert [(group.method, group.bits, group.sites) for group in encoder.compressed] == [
        ("static_int8", "8.02–8.08", 24),
        ("float16", "16", 1),
    ]
    assert encoder.left[0].sites == ("model.encoder.conv1", "model.encoder.layers.3.fc2")
    assert encoder.share == pytest.approx(1 - encoder.left[0].parameters / sum(s.parameters for s in encoder.sites))
    assert encoder.compressed[0].worst_error == max(s.error for s in encoder.sites if s.method == "static_int8")
    assert towers["embedding"].left[0].reason.startswith("tied to")


def test_no_parameter_and_no_site_is_lost_in_groups(refused):
    for tower in coverage(refused):
        groups = [*tower.compressed, *tower.left]
        assert sum(group.parameters for group in groups) == sum(site.parameters for site in tower.sites)
        assert sum(group.sites for group in tower.compressed) + sum(len(g.sites) for g in tower.left) == len(
            tower.sites
        )


def test_sites_of_one_method_at_different_widths_are_apart():
    sites = [{"site": str(bits), "tower": "t", "method": "rtn", "bits": bits} for bits in (2.5, 4.5, 4.25, None)]
    (tower,) = coverage(parse({"published": True, "coverage": sites}))
    assert [group.bits for group in tower.compressed] == ["2.5", "4.25–4.5", "–"]
    assert tower.share is None


@pytest.mark.parametrize(("bits", "text"), [(8.0, "8"), (4.5, "4.5"), (8.03125, "8.03"), (10.0, "10"), (None, "–")])
def test_bits(bits, text):
    assert bits_text(bits) == text


def test_a_terminal_shows_what_each_of_many_tasks_is_judged_by():
    names = ["speech/wer", "speech/cer", "vqa/accuracy", "retrieval/recall_at_1", "retrieval/image_to_text_recall_at_5"]
    metrics = {name: {"value": 0.5} for name in names}
    shown = shortened(compare_measures(MeasuresPart(size_bytes=5, metrics=metrics), None))
    assert [row.metric for row in shown] == ["size_bytes", "speech/wer", "vqa/accuracy", "retrieval/recall_at_1"]
    one = compare_measures(MeasuresPart(metrics={"wer": {"value": 0.5}, "cer": {"value": 0.5}}), None)
    assert shortened(one) == one
