from __future__ import annotations

from torch import Tensor

from ...technique import Technique, knob


class InverseTime(Technique):
    """A learning rate that shrinks as 1/t.

    ε_t = ε/(1 + c t/T),  t = 0 … T − 1

    c counts in run lengths, so that the entry means the same at any number of epochs; c = T/τ is the usual 1/(1 + t/τ).

    Knobs: `decay` = c ≥ 0; the last rate is about ε/(1 + c). 0 switches it off.
    Shapes: step numbers t (K,), T steps in all.
    Trade: the variance that a constant rate leaves goes to 0, as Robbins and Monro ask (Σε = ∞, Σε² < ∞): on a
        quadratic with ε_t = 1/(h (1 + t)) the iterate is the mean over all examples seen. Slow where the start was far
        away.
    Source: Robbins and Monro (1951); Darken and Moody (1990), search then converge; deck D2 (shrinking rates).
    """

    slot = "schedule"
    off = {"decay": 0.0}
    decay: float = knob(9.0, low=0.0)

    def schedule(self, t: Tensor, steps: int, rate: Tensor) -> Tensor:
        return rate / (1 + self.decay * t / steps)
