"""A loop that the clock ends; run by `torchrun`, in as many processes as that starts, each with a clock of its own.

loop_two.py FOLDER
"""

from __future__ import annotations

import sys
from pathlib import Path

import torch
from torch import Tensor, nn


class Slope(nn.Module):
    """Learns to give 2x."""

    def __init__(self) -> None:
        super().__init__()
        self.map = nn.Linear(2, 2)

    def forward(self, batch: Tensor) -> dict[str, Tensor]:
        """The squared error."""
        return {"error": (self.map(batch) - 2 * batch).square().mean()}

    def weigh(self, terms: dict[str, Tensor]) -> Tensor:
        """The loss."""
        return terms["error"]


def main(folder: Path) -> None:
    """Train, and write down how many steps that took."""
    from penjing.train import loop as room
    from penjing.train.launch import new_accelerator
    from penjing.train.plan import Plan

    accelerator, clock = new_accelerator(cpu=True), [0.0]
    own = folder / f"{accelerator.process_index}"
    room.monotonic = lambda: clock[0]  # type: ignore[assignment]

    def batches(step: int) -> list[Tensor]:
        clock[0] += 1.0 + 2.0 * accelerator.process_index
        return [torch.ones(4, 2)]

    torch.manual_seed(0)
    plan = Plan(7, peak_rate=1e-3, seconds=20.0, timed_from=4, check_every=100)
    loop = room.Loop(own, plan, Slope(), accelerator, None)
    loop.run(batches, lambda step, of, terms: None)
    (own / "steps").write_text(f"{loop.step}")


if __name__ == "__main__":
    torch.set_num_threads(1)
    main(Path(sys.argv[1]))
