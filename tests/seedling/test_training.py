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
from penjing.seedling.schedule import Schedule
from penjing.seedling.training import Training
from penjing.train.launch import new_accelerator
from tiny_seedling import small_batches, small_model, small_schedule


def training(folder: Path, schedule: Schedule) -> Training:
    torch.manual_seed(0)
    return Training(folder, schedule, Objective(small_model().train()), new_accelerator(cpu=True))


def silent(step: int, terms: dict[str, float]) -> None:
    """Nobody listens."""


def losses(folder: Path) -> list[float]:
    return [json.loads(line)["loss"] for line in (folder / "log.jsonl").read_text().splitlines()]


def test_a_tiny_seedling_learns(speech, tmp_path):
    told, schedule = [], small_schedule(25)
    training(tmp_path, schedule).run(small_batches(speech, schedule), lambda step, terms: told.append(step), workers=0)
    assert told == list(range(1, 26))
    found = losses(tmp_path)
    assert sum(found[-5:]) < 0.75 * sum(found[:5])


def test_seeing_reading_and_hearing_are_learned_first(speech, tmp_path):
    told, schedule = [], small_schedule(6, look=1, read=2, listen=1)
    run = training(tmp_path, schedule)
    run.run(small_batches(speech, schedule), lambda step, terms: told.append({*terms} - {"loss"}), workers=0)
    read = {"things", "caption", "answer", "image-text"}
    assert told == [{"things"}, read, read, {"alignment"}, {*WEIGHTS}, {*WEIGHTS}]


@pytest.mark.parametrize("look", [0, 4])
def test_a_killed_run_goes_on_as_if_nothing_had_been(look, speech, tmp_path, monkeypatch):
    """Also where a part of the model had not learned yet when it was killed."""
    whole, broken, schedule = tmp_path / "whole", tmp_path / "broken", small_schedule(6, look)
    batches = small_batches(speech, schedule)
    training(whole, schedule).run(batches, silent, workers=0)

    monkeypatch.setattr("penjing.seedling.training.SAVE_EVERY_S", 0.0)

    def kill(step: int, terms: dict[str, float]) -> None:
        if step == 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        training(broken, schedule).run(batches, kill, workers=0)
    again = training(broken, schedule)
    assert again.step == 3
    assert again.seconds > 0
    again.run(batches, silent, workers=0)
    assert losses(broken) == losses(whole)


def test_a_loss_that_is_no_number_stops_the_run(speech, tmp_path):
    schedule = small_schedule(3)
    run = training(tmp_path, schedule)
    with torch.no_grad():
        next(run._bare.parameters()).fill_(float("nan"))
    with pytest.raises(PenjingError, match="diverged at step 0"):
        run.run(small_batches(speech, schedule), silent, workers=0)


def test_the_rate_rises_and_falls_in_every_stage():
    schedule = Schedule(400, look=100, read=100, listen=100, warm_up=10, peak_rate=1.0, last_peak_rate=0.5)
    rates = [schedule.rate(step) for step in range(400)]
    for first, peak in ((0, 1.0), (100, 1.0), (200, 1.0), (300, 0.5)):
        assert rates[first : first + 10] == pytest.approx([0.1 * peak * (step + 1) for step in range(10)])
        assert max(rates[first : first + 100]) == pytest.approx(peak)
    assert rates[99] == rates[199] == rates[299] == pytest.approx(0.1, abs=0.01)
    assert rates[399] == pytest.approx(0.0, abs=0.01)
    stages = [schedule.stage(step) for step in (0, 99, 100, 199, 200, 299, 300)]
    assert stages == ["look", "look", "read", "read", "listen", "listen", "all"]


def test_two_processes_give_the_loss_of_one(speech, tmp_path):
    """Three steps, each process with half of every batch.

    torchrun starts them: `accelerate launch --cpu` by itself needs mpirun for more than one.
    """
    schedule = small_schedule(3, look=1)
    training(tmp_path / "one", schedule).run(small_batches(speech, schedule), silent, workers=0)
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    command = [*launch, train_two.__file__, str(tmp_path / "two")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr[-8000:]
    assert losses(tmp_path / "two") == pytest.approx(losses(tmp_path / "one"), rel=1e-3)
