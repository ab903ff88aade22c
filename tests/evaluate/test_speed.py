"""Interleaving, percentiles and ratios, with a clock that the test turns by hand."""

from __future__ import annotations

import pytest

from penjing.evaluate.speed import interleave, latency, speed_ratio

pytestmark = pytest.mark.shop


class Clock:
    """Seconds that only functions under test let pass."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self.calls: list[str] = []

    def __call__(self) -> float:
        return self.seconds

    def function(self, name: str, seconds: float):
        def run() -> None:
            self.calls.append(name)
            self.seconds += seconds

        return run


def test_each_round_times_every_function_once_in_rotating_order():
    clock = Clock()
    functions = {name: clock.function(name, seconds) for name, seconds in (("a", 0.001), ("b", 0.002), ("c", 0.004))}
    samples = interleave(functions, rounds=4, warm_up=0, clock=clock)
    assert "".join(clock.calls) == "abcbcacababc"
    assert samples == {"a": pytest.approx([1.0] * 4), "b": pytest.approx([2.0] * 4), "c": pytest.approx([4.0] * 4)}


def test_warm_up_is_run_and_not_timed():
    clock = Clock()
    samples = interleave({"a": clock.function("a", 0.001)}, rounds=2, warm_up=3, clock=clock)
    assert len(clock.calls) == 5
    assert len(samples["a"]) == 2


@pytest.mark.parametrize(("budget_s", "calls", "rounds"), [(25.0, 5, 3), (0.0, 4, 3), (75.0, 8, 6), (500.0, 14, 12)])
def test_no_round_begins_when_the_seconds_are_spent_but_three_are_timed(budget_s, calls, rounds):
    clock = Clock()
    samples = interleave({"a": clock.function("a", 10.0)}, rounds=12, warm_up=2, clock=clock, budget_s=budget_s)
    assert len(clock.calls) == calls
    assert samples["a"] == pytest.approx([10_000.0] * rounds)


def test_no_rounds_is_refused_and_no_functions_give_nothing():
    with pytest.raises(ValueError, match="at least one round"):
        interleave({}, rounds=0)
    assert interleave({}, rounds=2) == {}


def test_the_real_clock_tells_milliseconds():
    import time

    samples = interleave({"sleep": lambda: time.sleep(0.01)}, rounds=2, warm_up=0)
    assert all(9 <= sample < 500 for sample in samples["sleep"])


def test_latency_names_its_runs_and_threads():
    measured = latency([float(ms) for ms in range(1, 102)], threads=2)
    assert (measured.p50_ms, measured.p95_ms, measured.runs, measured.threads) == (51.0, 96.0, 101, 2)


def test_ratio_is_the_median_of_the_rounds_with_quartiles():
    ratio = speed_ratio([1, 2, 3, 4, 500], [10, 10, 10, 10, 10])
    assert ratio.as_json() == {"value": 0.3, "low": 0.2, "high": 0.4, "rounds": 5}
    with pytest.raises(ValueError, match="cannot be paired"):
        speed_ratio([1], [1, 2])
