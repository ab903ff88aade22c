"""How long and how fast something is trained, and when it is looked at."""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Plan:
    """The rate rises linearly over `warm_up` steps and falls as a cosine to `floor` of the peak.

    With `seconds` the clock decides how many `steps` there are, once `timed_from` of them have shown how long one
    takes; the number is kept with the state, so that a resumed run ends where an unbroken one would. `average` is the
    weight that the running mean of the parameters keeps of itself at a step. Every `check_every` steps the held-out
    loss is measured; training ends where it has not fallen `patience` times in a row. Matrices of layers take
    `orthogonal` steps, by Muon: all of them, none, or those that are named.
    """

    steps: int = 300
    peak_rate: float = 1e-3
    warm_up: int = 10
    floor: float = 0.02
    weight_decay: float = 0.0
    orthogonal: bool | tuple[str, ...] = True
    longest_gradient: float = 1.0
    average: float = 0.98
    check_every: int = 25
    patience: int = 8
    save_every_s: float = 120.0
    seconds: float | None = None
    timed_from: int = 10

    def rate(self, step: int) -> float:
        """Learning rate of a step."""
        rise = min(self.warm_up, max(1, self.steps // 4))
        if step < rise:
            return self.peak_rate * (step + 1) / rise
        passed = min(1.0, (step - rise) / max(1, self.steps - rise))
        return self.peak_rate * (self.floor + (1 - self.floor) * 0.5 * (1 + math.cos(math.pi * passed)))
