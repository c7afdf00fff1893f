from __future__ import annotations

from typing import Any

from ... import tree
from ...technique import At, Params, State, Technique, knob


class Momentum(Technique):
    """Heavy-ball momentum, in torch's form.

    v ← α v + g,  θ ← θ − ε v

    With a constant ε it is the decks' v ← α v − ε g, θ ← θ + v; under a schedule the current rate scales the whole
    buffer, where the decks' v keeps the old rates. α = 0 is SGD bit for bit.

    Knobs: `rate` = ε > 0; `momentum` = α in [0, 1).
    Shapes: state v, one tensor per parameter.
    Trade: on a quadratic of condition κ it converges at (√κ − 1)/(√κ + 1) a step instead of (κ − 1)/(κ + 1); averages
        gradient noise over 1/(1 − α) steps, along which the effective rate grows to ε/(1 − α).
    Source: Polyak (1964); Sutskever et al. (2013); decks D0, D2, D3.
    """

    slot = "optimizer"
    rate: float = knob(0.05, low=0.0, open="low")
    momentum: float = knob(0.9, low=0.0, high=1.0, open="high")

    def start(self, params: Params, net: Any) -> State:
        return {"v": tree.zeros_like(params)}

    def update(self, grads: Params, state: State, params: Params, at: At) -> tuple[Params, State]:
        v = tree.like(tree.zip_map(lambda v, g: self.momentum * v + g, state["v"], grads), params)
        return tree.zip_map(lambda p, v: p - at.rate * v, params, v), {"v": v}
