"""A loop over anything: it learns, keeps the best, ends early, goes on after a kill, and says when it went astray."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import loop_two
from penjing.errors import Diverged, RecipeError
from penjing.train.folder import RunFolder
from penjing.train.launch import new_accelerator
from penjing.train.loop import Loop
from penjing.train.plan import Plan


class Line(nn.Module):
    """Learns y = 2x: forward gives the squared error of a batch of x, (items, 3)."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.map = nn.Linear(3, 3)
        self.frozen = nn.Parameter(torch.ones(2), requires_grad=False)

    def forward(self, batch: Tensor) -> dict[str, Tensor]:
        return {"error": (self.map(batch) - 2 * batch).square().mean(), "zero": self.frozen.sum() * 0}

    def weigh(self, terms: dict[str, Tensor]) -> Tensor:
        return terms["error"] + terms["zero"]


def batches(step: int, parts: int = 1) -> list[Tensor]:
    whole = torch.randn(8, 3, generator=torch.Generator().manual_seed(step))
    return [*whole.chunk(parts)]


def held_of(line: Line) -> Any:
    return lambda: line.weigh(line(batches(10_000)[0])).item()


def new_loop(folder: Path, plan: Plan, line: Line | None = None, held: bool = True) -> tuple[Loop, Line]:
    line = line or Line()
    return Loop(folder, plan, line, new_accelerator(cpu=True), held_of(line) if held else None), line


def losses(folder: Path) -> list[float]:
    return [json.loads(line)["loss"] for line in (folder / "log.jsonl").read_text().splitlines()]


def silent(step: int, of: int, terms: dict[str, float]) -> None:
    """Nobody listens."""


PLAN = Plan(40, peak_rate=0.2, check_every=5, average=0.5)


def test_it_learns_and_keeps_the_best(tmp_path):
    loop, line = new_loop(tmp_path, PLAN)
    heard = []
    loop.run(batches, lambda step, of, terms: heard.append((step, of, sorted(terms))))
    assert loop.best < 0.2 * loop.first
    assert heard[0] == (1, 40, ["before", "error", "loss", "zero"])
    assert heard[4] == (5, 40, ["error", "held", "loss", "zero"])
    assert held_of(line)() == pytest.approx(loop.best)


def test_what_is_frozen_does_not_move(tmp_path):
    loop, line = new_loop(tmp_path, PLAN)
    loop.run(batches, silent)
    assert line.frozen.tolist() == [1.0, 1.0]


def test_parts_of_a_batch_are_added_up(tmp_path):
    """The same loss curve, whether a batch goes through whole or in four parts."""
    for parts in (1, 4):
        new_loop(tmp_path / str(parts), PLAN)[0].run(lambda step, parts=parts: batches(step, parts), silent)
    assert losses(tmp_path / "4") == pytest.approx(losses(tmp_path / "1"), rel=1e-3, abs=1e-5)


def test_a_killed_run_goes_on_as_if_nothing_had_been(tmp_path):
    plan = Plan(40, peak_rate=5e-2, check_every=5, average=0.5, save_every_s=0.0)
    whole, unbroken = new_loop(tmp_path / "whole", plan)
    whole.run(batches, silent)

    def kill(step: int, of: int, terms: dict[str, float]) -> None:
        if step == 17:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        new_loop(tmp_path / "broken", plan)[0].run(batches, kill)
    again, resumed = new_loop(tmp_path / "broken", plan)
    assert again.step == 16
    again.run(batches, silent)
    assert losses(tmp_path / "broken") == losses(tmp_path / "whole")
    assert again.best == whole.best
    assert torch.equal(resumed.map.weight, unbroken.map.weight)


def test_a_finished_run_is_not_run_again(tmp_path):
    first, line = new_loop(tmp_path, PLAN)
    first.run(batches, silent)
    again, other = new_loop(tmp_path, PLAN)
    again.run(lambda step: pytest.fail("nothing is to be learned"), silent)
    assert torch.equal(other.map.weight, line.map.weight)


def test_training_that_only_hurts_ends_early_and_leaves_things_as_they_were(tmp_path):
    line = Line()
    with torch.no_grad():
        line.map.weight.copy_(2 * torch.eye(3))
        line.map.bias.zero_()
    before = line.map.weight.clone()
    plan = Plan(400, peak_rate=1e-2, check_every=2, patience=3, average=0.1)
    loop, _ = new_loop(tmp_path, plan, line)
    loop.run(lambda step: [torch.randn(2, 3) + 1e3 * torch.randn(1)], silent)
    assert loop.step == 6
    assert loop.best_step == 0
    assert torch.equal(line.map.weight, before)


def test_a_loss_that_is_no_number_stops_and_leaves_the_best(tmp_path):
    loop, _ = new_loop(tmp_path, PLAN)

    def ruined(step: int) -> list[Tensor]:
        return [torch.full((2, 3), float("nan"))] if step == 12 else batches(step)

    with pytest.raises(Diverged, match="diverged at step 12: the loss is no number") as caught:
        loop.run(ruined, silent)
    assert caught.value.exit_code == 1
    assert "best of step 10" in caught.value.hint
    found = RunFolder(tmp_path).restore()
    assert found is not None
    assert {"best/map.weight", "best/map.bias"} <= set(found[0])
    assert all(bool(value.isfinite().all()) for value in found[0].values())


def test_a_loss_that_only_grows_stops(tmp_path):
    loop, _ = new_loop(tmp_path, Plan(100, peak_rate=100.0, warm_up=1, check_every=2, average=0.0))
    with pytest.raises(Diverged, match="the held-out loss went from"):
        loop.run(batches, silent)


def test_the_clock_says_how_many_steps_there_are_and_a_resumed_run_keeps_to_it(tmp_path, monkeypatch):
    clock = iter(range(100_000))
    monkeypatch.setattr("penjing.train.loop.monotonic", lambda: float(next(clock)))
    plan = Plan(7, peak_rate=1e-2, seconds=60.0, timed_from=4, check_every=100)
    loop, _ = new_loop(tmp_path, plan, held=False)
    loop.run(batches, silent)
    steps = loop.step
    assert 7 < steps < 60
    again, _ = new_loop(tmp_path, plan, held=False)
    assert (again.step, again.plan.steps, again.plan.seconds) == (steps, steps, None)


def test_the_best_step_is_kept_though_the_clock_was_read_at_it(tmp_path, monkeypatch):
    clock = [0.0]
    monkeypatch.setattr("penjing.train.loop.monotonic", lambda: clock[0])
    held = {0: 1.0, 4: 0.1}
    plan = Plan(7, peak_rate=1e-2, seconds=12.0, timed_from=4, check_every=4, save_every_s=1e9)

    def timed(step: int) -> list[Tensor]:
        clock[0] += 1.0
        return batches(step)

    def loop_of(line: Line) -> Loop:
        loop = Loop(tmp_path, plan, line, new_accelerator(cpu=True), lambda: held.get(loop.step, 0.5))
        return loop

    def kill(step: int, of: int, terms: dict[str, float]) -> None:
        if step == 6:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        loop_of(Line()).run(timed, kill)
    again = loop_of(Line())
    assert (again.step, again.best_step, again.best) == (4, 4, 0.1)
    again.run(timed, silent)
    assert (again.step, again.best_step, again.best) == (again.plan.steps, 4, 0.1)


def test_a_run_that_diverged_at_its_last_step_is_no_finished_one(tmp_path):
    """Taken up again it ends as before, and nobody takes what it had for what it learned."""
    plan = Plan(10, peak_rate=0.2, check_every=5, average=0.5)
    seen = iter([1.0, 0.5, 100.0])
    line = Line()
    loop = Loop(tmp_path, plan, line, new_accelerator(cpu=True), lambda: next(seen))
    said = []
    for _ in range(2):
        with pytest.raises(Diverged, match="diverged at step 10: the held-out loss went from 1 to 100") as caught:
            loop.run(batches, silent)
        said.append((caught.value.message, caught.value.hint))
        loop = Loop(tmp_path, plan, Line(), new_accelerator(cpu=True), lambda: pytest.fail("it looks again"))
        assert loop.step == plan.steps
    assert said[0] == said[1]
    assert "best of step 5 is kept" in said[0][1]


def test_a_loss_that_explodes_after_a_gain_stops_and_keeps_the_best(tmp_path):
    seen = iter([2.0, 1.0, 0.5, 21.0])
    loop = Loop(tmp_path, PLAN, Line(), new_accelerator(cpu=True), lambda: next(seen))
    with pytest.raises(Diverged, match="diverged at step 15: the held-out loss went from 2 to 21") as caught:
        loop.run(batches, silent)
    assert "best of step 10 is kept" in caught.value.hint
    found = RunFolder(tmp_path).restore()
    assert found is not None
    assert found[1]["best"] == "0.5"


def test_without_held_out_data_a_training_loss_that_explodes_stops(tmp_path):
    loop, _ = new_loop(tmp_path, PLAN, held=False)
    with pytest.raises(Diverged, match="diverged at step 15: the training loss went from") as caught:
        loop.run(lambda step: [1e3 * batches(step)[0]] if step >= 12 else batches(step), silent)
    assert "mean of the weights is kept" in caught.value.hint
    with pytest.raises(Diverged, match="diverged at step 15"):
        new_loop(tmp_path, PLAN, held=False)[0].run(batches, silent)


def test_one_hard_batch_is_no_explosion(tmp_path):
    loop, _ = new_loop(tmp_path, Plan(20, peak_rate=1e-3, check_every=10), held=False)
    loop.run(lambda step: [5 * batches(step)[0]] if step == 12 else batches(step), silent)
    assert loop.step == 20
    assert max(losses(tmp_path)) > 10 * losses(tmp_path)[0]


def test_a_student_that_is_its_teacher_may_move_a_little(tmp_path):
    seen = iter([1e-7, *[1e-3] * 8])
    loop = Loop(tmp_path, PLAN, Line(), new_accelerator(cpu=True), lambda: next(seen))
    loop.run(batches, silent)
    assert (loop.step, loop.best_step) == (40, 0)


def test_what_no_loss_depends_on_is_said(tmp_path):
    line = Line()
    line.map.requires_grad_(False)
    line.frozen.requires_grad_(True)
    loop, _ = new_loop(tmp_path, PLAN, line)
    loop._weigh = lambda terms: terms["error"]
    with pytest.raises(RecipeError, match=r"nothing to learn: no loss \(error, zero\) depends on what is to learn"):
        loop.run(batches, silent)


@pytest.mark.parametrize("killed_at", [None, 2, 6])
def test_the_clock_leaves_cold_steps_out_in_a_resumed_run_too(killed_at, tmp_path, monkeypatch):
    clock = [0.0]
    monkeypatch.setattr("penjing.train.loop.monotonic", lambda: clock[0])

    def timed(step: int) -> list[Tensor]:
        clock[0] += 10.0 if step < 3 else 1.0
        return batches(step)

    def kill(step: int, of: int, terms: dict[str, float]) -> None:
        if step == killed_at:
            raise KeyboardInterrupt

    plan = Plan(11, peak_rate=1e-2, seconds=100.0, timed_from=10, check_every=100, save_every_s=0.0)
    if killed_at is not None:
        with pytest.raises(KeyboardInterrupt):
            new_loop(tmp_path, plan, held=False)[0].run(timed, kill)
    loop, _ = new_loop(tmp_path, plan, held=False)
    assert loop.step == (0 if killed_at is None else killed_at - 1)
    loop.run(timed, silent)
    assert loop.step == 10 + (100 - 37)


def test_processes_wait_for_one_another_for_longer_than_a_teacher_takes(monkeypatch):
    given = {}
    monkeypatch.setattr("penjing.train.launch.Accelerator", lambda **settings: given.update(settings))
    new_accelerator(cpu=True)
    (patience,) = (one.timeout for one in given["kwargs_handlers"] if hasattr(one, "timeout"))
    assert patience.total_seconds() >= 24 * 3600


def test_processes_with_clocks_of_their_own_take_as_many_steps(tmp_path):
    """The second of them takes three times as long for a step, by its own clock."""
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    command = [*launch, loop_two.__file__, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    counts = [(tmp_path / f"{rank}" / "steps").read_text() for rank in range(2)]
    assert counts == ["20", "20"]
