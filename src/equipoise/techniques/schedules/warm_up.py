from __future__ import annotations

import torch
from torch import Tensor

from ...technique import Technique, knob


class WarmUp(Technique):
    """A learning rate that begins small and rises linearly; multiplies the schedule.

    ε_t · (s + (1 − s) · min(1, t/(p T))),  t = 0 … T − 1

    Knobs: `first` = s in (0, 1], the fraction of the rate at the first step (1 switches it off); `length` = p in [0,
        1], the part of the run it takes.
    Shapes: step numbers t (K,), T steps in all.
    Trade: the first gradients, of weights that mean nothing yet, cannot throw the run away: large rates and batches
        train; costs a little of the early progress.
    Source: Goyal et al. (2017): 5 of 90 epochs, from 1/32 at a batch of 8,192.
    """

    slot = "warm-up"
    off = {"first": 1.0}
    first: float = knob(0.03125, low=0.0, high=1.0, open="low")
    length: float = knob(0.05, low=0.0, high=1.0)

    def schedule(self, t: Tensor, steps: int, rate: Tensor) -> Tensor:
        risen = torch.clamp(t / max(self.length * steps, 1e-9), max=1.0) if self.length > 0 else torch.ones_like(t)
        return rate * (self.first + (1 - self.first) * risen)
