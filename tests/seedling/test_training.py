"""Training in small: it learns, it goes on after a kill as if nothing had been, two processes do what one does."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import train_two
from penjing.errors import PenjingError
from penjing.seedling.losses import WEIGHTS, Objective
from penjing.seedling.training import Schedule, Training, new_accelerator
from tiny_seedling import small_batches, small_model

QUIET = {"towers_only": 1, "warm_up": 3, "batch_size": 8, "peak_rate": 3e-3}


def training(folder: Path, steps: int, **changes) -> Training:
    torch.manual_seed(0)
    objective = Objective(small_model().train())
    return Training(folder, Schedule(steps, **{**QUIET, **changes}), objective, new_accelerator(cpu=True))


def losses(folder: Path) -> list[float]:
    return [json.loads(line)["loss"] for line in (folder / "log.jsonl").read_text().splitlines()]


def test_a_tiny_seedling_learns(speech, tmp_path):
    told = []
    training(tmp_path, 25).run(small_batches(speech, 25), lambda step, terms: told.append(step), workers=0)
    assert told == list(range(1, 26))
    found = losses(tmp_path)
    assert sum(found[-5:]) < 0.75 * sum(found[1:6])


def test_the_towers_learn_first(speech, tmp_path):
    told = []
    training(tmp_path, 5, towers_only=2).run(
        small_batches(speech, 5), lambda step, terms: told.append([*terms]), workers=0
    )
    assert ["answer" in names for names in told] == [False, False, True, True, True]
    assert told[-1] == ["loss", *WEIGHTS]
    assert told[0] == ["loss", "image-text", "image-audio", "text-audio", "things", "alignment"]


def test_a_killed_run_goes_on_as_if_nothing_had_been(speech, tmp_path, monkeypatch):
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    training(whole, 6).run(small_batches(speech, 6), lambda step, terms: None, workers=0)

    monkeypatch.setattr("penjing.seedling.training.SAVE_EVERY_S", 0.0)

    def kill(step: int, terms: dict[str, float]) -> None:
        if step == 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        training(broken, 6).run(small_batches(speech, 6), kill, workers=0)
    again = training(broken, 6)
    assert again.step == 3
    again.run(small_batches(speech, 6), lambda step, terms: None, workers=0)
    assert losses(broken) == losses(whole)


def test_a_loss_that_is_no_number_stops_the_run(speech, tmp_path):
    run = training(tmp_path, 3)
    with torch.no_grad():
        next(run._bare.parameters()).fill_(float("nan"))
    with pytest.raises(PenjingError, match="diverged at step 0"):
        run.run(small_batches(speech, 3), lambda step, terms: None, workers=0)


def test_the_rate_rises_and_falls():
    schedule = Schedule(steps=100, warm_up=10, peak_rate=1.0)
    rates = [schedule.rate(step) for step in range(101)]
    assert rates[:10] == pytest.approx([0.1 * (step + 1) for step in range(10)])
    assert max(rates) == pytest.approx(1.0)
    assert rates[-1] == pytest.approx(0.0, abs=1e-9)


def test_two_processes_give_the_loss_of_one(speech, tmp_path):
    """Three steps, each process with half of every batch.

    torchrun starts them: `accelerate launch --cpu` by itself needs mpirun for more than one.
    """
    training(tmp_path / "one", 3).run(small_batches(speech, 3), lambda step, terms: None, workers=0)
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    command = [*launch, train_two.__file__, str(tmp_path / "two")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    assert losses(tmp_path / "two") == pytest.approx(losses(tmp_path / "one"), rel=1e-3)
