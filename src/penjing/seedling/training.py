"""Training, resumable: everything a step needs follows from the seed and its number.

So the state on disk is the weights, the optimizer's two moments and that number: safetensors and JSON, no pickle.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor, nn
from torch.utils.data import DataLoader, Subset

from penjing.errors import PenjingError
from penjing.seedling.batches import Batches, moved
from penjing.seedling.losses import Objective, total
from penjing.seedling.schedule import Schedule
from penjing.train.average import put
from penjing.train.folder import RunFolder
from penjing.train.optimizer import Optimizers

SAVE_EVERY_S = 120.0

Tell = Callable[[int, dict[str, float]], None]
"""Hears of every step: its number and the terms of its loss."""


class Training:
    """A run in a folder: `state.safetensors` and `state.json` to go on from, `log.jsonl` of what the loss did."""

    def __init__(self, folder: Path, schedule: Schedule, objective: Objective, accelerator: Accelerator) -> None:
        self.schedule, self.step, self.seconds = schedule, 0, 0.0
        self._folder, self._accelerator = RunFolder(folder), accelerator
        self._bare, self._optimizers = objective, Optimizers(objective, schedule)
        self._restore()
        self._objective: nn.Module = accelerator.prepare_model(objective)

    def run(self, batches: Batches, tell: Tell, workers: int = 1) -> None:
        """Train to the end of the schedule; a killed run loses two minutes at most."""
        todo = Subset(batches, range(self.step, self.schedule.steps))
        loader = DataLoader(todo, batch_size=None, num_workers=workers, prefetch_factor=4 if workers else None)
        saved = begun = time.monotonic()
        before = self.seconds
        for batch in loader:
            terms = self._learn(batch)
            self.step += 1
            self.seconds = before + time.monotonic() - begun
            if self._accelerator.is_main_process:
                tell(self.step, terms)
                self._folder.log(self.step, terms)
                if time.monotonic() - saved > SAVE_EVERY_S or self.step == self.schedule.steps:
                    self._save()
                    saved = time.monotonic()

    def _learn(self, batch: Any) -> dict[str, float]:
        """One step; returns the terms of its loss. Raises PenjingError where it is no longer a number."""
        terms: dict[str, Tensor] = self._objective(moved(batch, self._accelerator.device))
        loss = total(terms)
        if not math.isfinite(loss.item()):
            raise PenjingError(f"training diverged at step {self.step}", hint="lower the peak rate and start again")
        self._accelerator.backward(loss)
        nn.utils.clip_grad_norm_(self._bare.parameters(), self.schedule.longest_gradient)
        self._optimizers.advance(self.step)
        told = torch.stack([loss, *terms.values()]).detach()
        shared: Tensor = self._accelerator.reduce(told, "mean")  # each process knows its own share of the items
        return dict(zip(("loss", *terms), shared.tolist(), strict=True))

    def _save(self) -> None:
        weights = {f"weights/{name}": value for name, value in self._bare.named_parameters()}
        told = {"step": str(self.step), "seconds": str(self.seconds)}
        self._folder.save(weights | self._optimizers.moments(), told)

    def _restore(self) -> None:
        """Take up the state of a run that was broken off, if there is one."""
        found = self._folder.restore()
        if found is None:
            return
        state, told = found
        self.step, self.seconds = int(told["step"]), float(told["seconds"])
        trained = dict(self._bare.named_parameters())
        put(trained, {name: state[f"weights/{name}"] for name in trained})
        self._optimizers.restore(state)
