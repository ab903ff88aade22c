"""A step of `distill` beside a step of plain AdamW: distill_step.py [OPTIMIZER…] [--steps N]

The textbook CNN (two convolutions, 4096 → 1024 → 10, random weights) learns from itself on random images, 16 batches of
32 a step, which is the default of `distill`. Between any two of its steps the same batches go through a plain step of
fused AdamW, and through the teacher: all three are timed in turns in one process. `--batch` takes fewer batches a step.

`distill` asks the teacher once before the first step and keeps the answers, so what it costs is told apart, a step of
it included in `adamw and teacher` as a training would pay that asks at every step.
"""

from __future__ import annotations

import argparse
import copy
import time
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from timing import THREADS, spread, write

IMAGES = 32
BATCHES = 40


def textbook_cnn() -> nn.Sequential:
    """Of examples/cifar10.py, without dropout: (images, 3, 32, 32) -> (images, 10)."""
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 32, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(32, 64, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
        nn.Flatten(), nn.Linear(64 * 8 * 8, 1024), nn.ReLU(), nn.Linear(1024, 10),
    )  # fmt: skip


class Turns:
    """Progress callback of `distill`: between two of its steps it times a plain step and the teacher."""

    def __init__(self, net: nn.Module, batches: Sequence[Sequence[Tensor]], count: int) -> None:
        self.net, self.teacher, self.batches, self.count = copy.deepcopy(net), copy.deepcopy(net).eval(), batches, count
        self.optimizer = torch.optim.AdamW(self.net.parameters(), 5e-4, fused=True)
        self.seconds: dict[str, list[float]] = {"adamw": [], "adamw and teacher": [], "distill": []}
        self._resumed_at = 0.0

    def __call__(self, what: str, done: int, total: int) -> None:
        """Called after every step of `distill`."""
        now = time.perf_counter()
        if not what.startswith("train"):
            return
        if self._resumed_at:
            self.seconds["distill"].append(now - self._resumed_at)
        first = done * self.count
        part = [self.batches[(first + number) % len(self.batches)] for number in range(self.count)]
        adamw_s = self._plain_step(part)
        start = time.perf_counter()
        with torch.no_grad():
            for images, _ in part:
                self.teacher(images)
        self.seconds["adamw"].append(adamw_s)
        self.seconds["adamw and teacher"].append(adamw_s + time.perf_counter() - start)
        self._resumed_at = time.perf_counter()

    def _plain_step(self, part: Sequence[Sequence[Tensor]]) -> float:
        """Seconds of a forward, a backward and a step of AdamW on these batches."""
        start = time.perf_counter()
        for images, labels in part:
            (nn.functional.cross_entropy(self.net(images), labels) / len(part)).backward()
        self.optimizer.step()
        self.optimizer.zero_grad()
        return time.perf_counter() - start


def measure(optimizer: str, steps: int, batch: int) -> dict[str, Any]:
    """Seconds of a step of each, and the ratios to plain AdamW turn by turn."""
    import penjing

    net = textbook_cnn().eval()
    rng = torch.Generator().manual_seed(1)
    batches = [
        (torch.randn(IMAGES, 3, 32, 32, generator=rng), torch.randint(0, 10, (IMAGES,), generator=rng))
        for _ in range(BATCHES)
    ]
    turns = Turns(net, batches, batch)
    recipe = [
        {"method": "magnitude"},
        {"method": "distill", "steps": steps, "optimizer": optimizer, "batch": batch, "check_every": steps + 1},
    ]
    inputs = [{"input": images, "labels": labels} for images, labels in batches]
    penjing.compress(net, recipe, batches=inputs, tell=turns)
    distill = turns.seconds["distill"]
    ratios = {
        f"distill to {name}": spread([mine / other for mine, other in zip(distill, turns.seconds[name], strict=False)])
        for name in ("adamw", "adamw and teacher")
    }
    return {"seconds": {name: spread(values) for name, values in turns.seconds.items()}, "ratios": ratios}


def main() -> None:
    """Measure the optimizers that are named, or `auto`, the default, and Muon."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("optimizers", nargs="*", default=["auto", "muon"])
    parser.add_argument("--steps", type=int, default=12)
    parser.add_argument("--batch", type=int, default=16, help="batches of 32 images a step")
    options = parser.parse_args()
    torch.set_num_threads(THREADS)
    write("distill_step", {name: measure(name, options.steps, options.batch) for name in options.optimizers})


if __name__ == "__main__":
    main()
