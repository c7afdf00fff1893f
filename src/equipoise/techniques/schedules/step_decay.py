from __future__ import annotations

from typing import Any

from torch import Tensor

from ...errors import EquipoiseError
from ...technique import Technique, knob, option


class StepDecay(Technique):
    """A learning rate that falls in steps.

    ε_t = ε · γ^n(t),  n(t) = how many of the milestones m satisfy t ≥ m T

    Knobs: `factor` = γ in (0, 1]; 1 switches it off.
    Options: `at` = the milestones, as fractions of the run in (0, 1), rising.
    Shapes: step numbers t (K,), T steps in all.
    Errors: milestones that are not rising numbers between 0 and 1.
    Trade: explores at the full rate, then drops its variance at once; where to fall is a choice that others need not
        make.
    Source: He, Zhang, Ren, Sun (2016): ÷10 at ½ and ¾ of the steps; deck D2 (shrinking rates).
    """

    slot = "schedule"
    off = {"factor": 1.0}
    factor: float = knob(0.1, low=0.0, high=1.0, open="low")
    at: Any = option((0.5, 0.75))

    def check(self) -> None:
        numbers = isinstance(self.at, tuple) and all(type(m) in (int, float) for m in self.at)
        if not (numbers and self.at and list(self.at) == sorted(set(self.at)) and self.at[0] > 0 and self.at[-1] < 1):
            raise EquipoiseError(
                f"{self!r}: at lists fractions of the run between 0 and 1, rising, such as (0.5, 0.75)."
            )

    def schedule(self, t: Tensor, steps: int, rate: Tensor) -> Tensor:
        return rate * self.factor ** sum((t >= m * steps).to(rate) for m in self.at)
