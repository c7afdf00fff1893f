from __future__ import annotations

from torch import Tensor

from ...technique import Technique, knob


class Exponential(Technique):
    """A learning rate that shrinks by the same factor every step.

    ε_t = ε · f^(t/T),  t = 0 … T − 1

    f counts over the run, so that the entry means the same at any number of epochs: γ = f^(1/T) per step.

    Knobs: `final` = f in (0, 1], the fraction left at the end (1 switches it off).
    Shapes: step numbers t (K,), T steps in all.
    Trade: removes the variance a constant rate leaves at the end. Σε is finite: what is far away at first stays out of
        reach.
    Source: Bottou (2012), Stochastic gradient descent tricks; deck D2 (shrinking rates).
    """

    slot = "schedule"
    off = {"final": 1.0}
    final: float = knob(0.01, low=0.0, high=1.0, open="low")

    def schedule(self, t: Tensor, steps: int, rate: Tensor) -> Tensor:
        return rate * self.final ** (t / steps)
