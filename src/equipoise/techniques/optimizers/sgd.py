from __future__ import annotations

from ... import tree
from ...technique import At, Params, State, Technique, knob


class SGD(Technique):
    """Stochastic gradient descent.

    θ ← θ − ε g

    Knobs: `rate` = ε, the learning rate per step, > 0 (the schedule and the warm-up multiply it).
    Shapes: acts on every trainable parameter alike; no state.
    Trade: at a constant rate the iterate keeps a variance of ε s²/(B h (2 − ε h)) around a minimum of curvature h, for
        gradients of variance s² per example and B examples a step; a shrinking rate removes it. On a quadratic of
        condition κ the error falls by (κ − 1)/(κ + 1) a step at best. One multiply-add per parameter.
    Source: Robbins and Monro (1951); decks D0, D2.
    """

    slot = "optimizer"
    rate: float = knob(0.1, low=0.0, open="low")

    def update(self, grads: Params, state: State, params: Params, at: At) -> tuple[Params, State]:
        return tree.zip_map(lambda p, g: p - at.rate * g, params, grads), state
