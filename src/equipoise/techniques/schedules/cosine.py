from __future__ import annotations

import torch
from torch import Tensor

from ...technique import Technique, knob


class Cosine(Technique):
    """Cosine decay of the learning rate over the whole run.

    ε_t = ε · (f + (1 − f) (1 + cos(π t/T))/2),  t = 0 … T − 1

    Knobs: `floor` = f in [0, 1], the fraction left at the end (1 switches it off).
    Shapes: step numbers t (K,), T steps in all.
    Trade: removes the variance a constant rate leaves at the end; costs the late steps their reach.
    Source: Loshchilov and Hutter (2017), one period; deck D2 (shrinking rates).
    """

    slot = "schedule"
    off = {"floor": 1.0}
    floor: float = knob(0.0, low=0.0, high=1.0)

    def schedule(self, t: Tensor, steps: int, rate: Tensor) -> Tensor:
        return rate * (self.floor + (1 - self.floor) * (1 + torch.cos(torch.pi * t / steps)) / 2)
