from __future__ import annotations

import torch
from torch import Tensor

from ...technique import Technique, knob


class OneCycle(Technique):
    """One cycle of the learning rate: up to the base rate, then down to almost nothing, both along a cosine.

    from ε/d up to ε over the first p T steps, then down to ε/(d·e): between two ends a → b at the fraction s of the way
    ε_s = b + (a − b) (1 + cos π s)/2. The base rate is the highest; t = p T − 1 is the peak, t = T − 1 the end.

    Knobs: `warm` = p in [0, 1]; `divide` = d ≥ 1; `end` = e ≥ 1. d = e = 1 switches it off.
    Shapes: step numbers t (K,), T steps in all.
    Trade: large rates in the middle regularize (variance down) and cross barriers; the slow end removes their noise.
        Trains well in few epochs; a run cut short ends at a high rate. torch cycles the momentum too, this entry does
        not.
    Source: Smith and Topin (2018); defaults of torch.optim.lr_scheduler.OneCycleLR.
    """

    slot = "schedule"
    off = {"divide": 1.0, "end": 1.0}
    warm: float = knob(0.3, low=0.0, high=1.0)
    divide: float = knob(25.0, low=1.0)
    end: float = knob(1e4, low=1.0)

    def schedule(self, t: Tensor, steps: int, rate: Tensor) -> Tensor:
        peak = self.warm * steps - 1
        first, last = rate / self.divide, rate / self.divide / self.end
        up, down = t / max(peak, 1e-9), (t - peak) / max(steps - 1 - peak, 1e-9)
        return torch.where(t <= peak, _along(first, rate, up), _along(rate, last, down))


def _along(a: Tensor, b: Tensor, s: Tensor) -> Tensor:
    return b + (a - b) * (1 + torch.cos(torch.pi * s)) / 2
