"""Training, resumable: everything a step needs follows from the seed and its number.

So the state on disk is the weights, the optimizer's two moments and that number: safetensors and JSON, no pickle.
"""

from __future__ import annotations

import json
import math
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator, DistributedDataParallelKwargs
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.utils.data import DataLoader, Subset

from penjing.errors import PenjingError
from penjing.seedling.batches import Batches, moved
from penjing.seedling.losses import Objective, total
from penjing.seedling.optimizer import Optimizers
from penjing.seedling.schedule import Schedule

SAVE_EVERY_S = 120.0

Tell = Callable[[int, dict[str, float]], None]
"""Hears of every step: its number and the terms of its loss."""


def new_accelerator(cpu: bool = False, bfloat16: bool = False) -> Accelerator:
    """How the loop runs: here, or in as many processes as its launcher started; with `bfloat16`, products in that type.

    While one tower learns alone, processes must not wait for gradients of the others.
    """
    towers_apart = DistributedDataParallelKwargs(find_unused_parameters=True)
    return Accelerator(cpu=cpu, mixed_precision="bf16" if bfloat16 else "no", kwargs_handlers=[towers_apart])


def multiplies_bfloat16() -> bool:
    """Whether the chip has instructions for it; without them bfloat16 takes twice as long as float32."""
    chip = torch.cpu.get_capabilities()
    return bool(chip.get("avx512_bf16") or chip.get("amx_bf16"))


class Training:
    """A run in a folder: `state.safetensors` and `state.json` to go on from, `log.jsonl` of what the loss did."""

    def __init__(self, folder: Path, schedule: Schedule, objective: Objective, accelerator: Accelerator) -> None:
        self.schedule, self.step, self.seconds = schedule, 0, 0.0
        self._folder, self._accelerator = folder, accelerator
        self._bare, self._optimizers = objective, Optimizers(objective, schedule)
        folder.mkdir(parents=True, exist_ok=True)
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
                self._log(terms)
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

    def _log(self, terms: dict[str, float]) -> None:
        line = {"step": self.step, **{name: round(value, 5) for name, value in terms.items()}}
        with (self._folder / "log.jsonl").open("a") as log:
            log.write(json.dumps(line) + "\n")

    def _save(self) -> None:
        """Write the state beside the old one, then put it in its place."""
        weights = {f"weights/{name}": value for name, value in self._bare.named_parameters()}
        tensors = weights | self._optimizers.moments()
        beside = self._folder / "state.safetensors.new"
        save_file({name: value.detach().contiguous() for name, value in tensors.items()}, beside, self._told())
        os.replace(beside, self._folder / "state.safetensors")

    def _told(self) -> dict[str, str]:
        return {"step": str(self.step), "seconds": str(round(self.seconds, 1))}

    def _restore(self) -> None:
        """Take up the state of a run that was broken off, if there is one; drop what its log says of later steps."""
        path = self._folder / "state.safetensors"
        if not path.exists():
            (self._folder / "log.jsonl").unlink(missing_ok=True)
            return
        from safetensors import safe_open

        with safe_open(path, "pt") as file:
            told = file.metadata()
        self.step, self.seconds = int(told["step"]), float(told["seconds"])
        state = load_file(path)
        with torch.no_grad():
            for name, parameter in self._bare.named_parameters():
                parameter.copy_(state[f"weights/{name}"])
        self._optimizers.restore(state)
        log = self._folder / "log.jsonl"
        lines = log.read_text().splitlines()[: self.step] if log.exists() else []
        log.write_text("".join(f"{line}\n" for line in lines))
