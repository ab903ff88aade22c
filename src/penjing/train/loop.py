"""A run of training, resumable: everything that a step needs follows from its number.

So the state on disk is the trained parameters, their mean, the best of it, the optimizers' moments and that number.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from time import monotonic
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor, nn

from penjing.errors import Diverged, RecipeError
from penjing.train.average import Average, put
from penjing.train.folder import RunFolder
from penjing.train.launch import agreed
from penjing.train.optimizer import Optimizers
from penjing.train.plan import Plan

FAR = 10.0
"""A loss of so many times the one before training is no training, whatever was gained in between."""
SMALL = 0.01
"""A loss before training that is less counts as so much: a student that is its teacher has one of nearly nothing."""
COLD = 3
"""Steps that are slower than those that follow, so that the clock is not read by them."""
KINDS = ("weights", "average", "best")

Heard = Callable[[int, int, dict[str, float]], None]
"""Hears of every step: its number, how many there are, the terms of its loss."""


class Loop:
    """Training of the parameters of an objective that want gradients.

    The objective is a module whose forward gives the terms of the loss of a batch, each a scalar by its name, and whose
    `weigh` adds them up.

    `held` is the loss on data kept apart; the parameters end as the mean that was best by it, which may be the one
    before the first step. Without such data the training loss says whether it goes astray.
    """

    def __init__(
        self, folder: Path, plan: Plan, objective: Any, accelerator: Accelerator, held: Callable[[], float] | None
    ) -> None:
        self.plan, self.step, self.seconds = plan, 0, 0.0
        self.best, self.best_step, self.first, self._worse = math.inf, 0, math.inf, 0
        self._cold_s, self._astray = 0.0, ""
        self._unlearned, self._recent = math.inf, list[float]()
        self._folder, self._accelerator, self._held = RunFolder(folder), accelerator, held
        self._bare: nn.Module = objective
        self._weigh = objective.weigh
        named = {name: value for name, value in objective.named_parameters() if value.requires_grad}
        self._trained, self._optimizers = named, Optimizers(objective, plan, plan.orthogonal)
        self._average = Average(named, plan.average)
        self._best = {name: value.clone() for name, value in self._average.values.items()}
        with accelerator.main_process_first():
            self._restore()
        self._objective: nn.Module = accelerator.prepare_model(objective)

    @property
    def place(self) -> tuple[int, int]:
        """Which process this is, and of how many."""
        return self._accelerator.process_index, self._accelerator.num_processes

    def run(self, batches: Callable[[int], Sequence[Any]], heard: Heard) -> None:
        """Train to the end; `batches` gives the parts of a step's batch, whose gradients are added up.

        A killed run loses `save_every_s` seconds at most. Raises Diverged, with the best in the folder; so does a run
        that is taken up after that.
        """
        if self._astray:
            raise self._diverged(self._astray)
        saved = begun = monotonic()
        before = self.seconds
        unlearned = {"before": self._look()["held"]} if self.step == 0 and self._held else {}
        while self.step < self.plan.steps and self._worse < self.plan.patience:
            terms = self._learn(batches(self.step)) | unlearned
            self.step, unlearned = self.step + 1, {}
            self._average.take_in(self.step)
            self.seconds = before + monotonic() - begun
            timed = self._fit_to_clock()
            if self.step % self.plan.check_every == 0 or self.step == self.plan.steps:
                terms |= self._look()
            self._tell(terms, heard)
            if timed or monotonic() - saved > self.plan.save_every_s:
                self._save()
                saved = monotonic()
        self._save()
        put(self._trained, self._best if self._held else self._average.values)

    def _learn(self, parts: Sequence[Any]) -> dict[str, float]:
        """One step; returns the terms of its loss."""
        told: dict[str, Tensor] = {}
        for place, part in enumerate(parts):
            alone = place < len(parts) - 1
            with self._accelerator.no_sync(self._objective) if alone else nullcontext():
                terms: dict[str, Tensor] = self._objective(part)
                loss = self._weigh(terms) / len(parts)
                if not loss.requires_grad:
                    raise nothing_to_learn([*terms])
                self._accelerator.backward(loss)
            for name, term in {"loss": loss * len(parts), **terms}.items():
                told[name] = told.get(name, torch.zeros(())) + term.detach() / len(parts)
        shared: Tensor = self._accelerator.reduce(torch.stack([*told.values()]), "mean")
        if not math.isfinite(float(shared[0])):
            raise self._diverged("the loss is no number")
        self._hear(float(shared[0]))
        nn.utils.clip_grad_norm_(self._trained.values(), self.plan.longest_gradient)
        self._optimizers.advance(self.step)
        return dict(zip(told, shared.tolist(), strict=True))

    def _hear(self, loss: float) -> None:
        """Remember the training loss before the first step and those since the last look."""
        if self.step == 0:
            self._unlearned = loss
        self._recent.append(loss)

    def _look(self) -> dict[str, float]:
        """Measure the held-out loss of the mean, and keep what is best by it."""
        recent, self._recent = self._recent, []
        if self._held is None:
            self._check_recent(recent)
            return {}
        with self._average.in_place(), torch.no_grad():
            found = agreed(self._held())
        if self.step == 0:
            self.first = found
        if not math.isfinite(found) or found > FAR * max(SMALL, self.first):
            raise self._diverged(f"the held-out loss went from {self.first:.4g} to {found:.4g}")
        if found < self.best:
            self.best, self.best_step, self._worse = found, self.step, 0
            self._best = {name: value.clone() for name, value in self._average.values.items()}
        else:
            self._worse += 1
        return {"held": found}

    def _check_recent(self, losses: Sequence[float]) -> None:
        """Without held-out data: one batch may be hard, so the mean since the last look is what counts."""
        mean = sum(losses) / len(losses)
        if mean > FAR * max(SMALL, self._unlearned):
            raise self._diverged(f"the training loss went from {self._unlearned:.4g} to {mean:.4g}")

    def _diverged(self, why: str) -> Diverged:
        self._astray = why
        self._save()
        kept = "mean of the weights" if self._held is None else f"best of step {self.best_step}"
        return Diverged(
            f"training diverged at step {self.step}: {why}",
            hint=f"lower the rate; the {kept} is kept in {self._folder.place}",
        )

    def _fit_to_clock(self) -> bool:
        """Settle how many steps the time is enough for, once it is known how long one takes; whether that was now."""
        plan = self.plan
        if self.step == COLD:
            self._cold_s = self.seconds
        if plan.seconds is None or self.step < plan.timed_from:
            return False
        warm = (self.seconds - self._cold_s) / (self.step - COLD)
        steps = agreed(self.step + max(0, int((plan.seconds - self.seconds) / warm)))  # each process has its own clock
        self.plan = replace(plan, steps=int(steps), seconds=None)
        self._optimizers.follow(self.plan)
        return True

    def _tell(self, terms: dict[str, float], heard: Heard) -> None:
        if self._accelerator.is_main_process:
            heard(self.step, self.plan.steps, terms)
            self._folder.log(self.step, terms)

    def _save(self) -> None:
        if not self._accelerator.is_main_process:
            return
        kept = zip(KINDS, (self._trained, self._average.values, self._best), strict=True)
        tensors = {f"{kind}/{name}": value for kind, values in kept for name, value in values.items()}
        numbers = {"step": self.step, "steps": self.plan.steps, "timed": int(self.plan.seconds is None)}
        numbers |= {"best_step": self.best_step, "worse": self._worse}
        measures = {"seconds": self.seconds, "best": self.best, "first": self.first}
        measures |= {"cold_s": self._cold_s, "unlearned": self._unlearned}
        told = {name: repr(value) for name, value in {**numbers, **measures}.items()} | {"astray": self._astray}
        self._folder.save(tensors | self._optimizers.moments(), told)

    def _restore(self) -> None:
        """Take up the state of a run that was broken off, if there is one."""
        found = self._folder.restore()
        if found is None:
            return
        state, told = found
        self.step, self.best_step, self._worse = (int(told[name]) for name in ("step", "best_step", "worse"))
        self.seconds, self.best, self.first = (float(told[name]) for name in ("seconds", "best", "first"))
        self._cold_s, self._unlearned = float(told.get("cold_s", 0.0)), float(told.get("unlearned", math.inf))
        self._astray = told.get("astray", "")
        if int(told["timed"]):
            self.plan = replace(self.plan, steps=int(told["steps"]), seconds=None)
            self._optimizers.follow(self.plan)
        for kind, values in zip(KINDS, (self._trained, self._average.values, self._best), strict=True):
            put(values, {name: state[f"{kind}/{name}"] for name in values})
        self._optimizers.restore(state)


def nothing_to_learn(losses: Sequence[str]) -> RecipeError:
    """What to say where no loss depends on what is to learn."""
    said = f"no loss ({', '.join(losses)})" if losses else "no loss"
    return RecipeError(
        f"there is nothing to learn: {said} depends on what is to learn",
        hint="let other towers or parts learn, or give another loss a weight",
    )
