from __future__ import annotations

from typing import Any

from ... import tree
from ...technique import At, Params, State, Technique, knob


class Nesterov(Technique):
    """Nesterov's accelerated gradient, in torch's form.

    v ← α v + g,  θ ← θ − ε (g + α v)

    θ is the look-ahead point: with a constant ε, φ = θ + ε α v follows the decks' u ← α u − ε g(φ + α u), φ ← φ + u.
    Under a schedule the current rate scales the whole buffer, where the decks' u keeps the old rates. α = 0 is SGD bit
    for bit.

    Knobs: `rate` = ε > 0; `momentum` = α in [0, 1).
    Shapes: state v, one tensor per parameter.
    Trade: as Momentum, but the gradient is taken after the peek, so that it brakes before the overshoot: less
        oscillation at the same α, and stable over a smaller range of rates.
    Source: Nesterov (1983); Sutskever et al. (2013); deck D3.
    """

    slot = "optimizer"
    rate: float = knob(0.05, low=0.0, open="low")
    momentum: float = knob(0.9, low=0.0, high=1.0, open="high")

    def start(self, params: Params, net: Any) -> State:
        return {"v": tree.zeros_like(params)}

    def update(self, grads: Params, state: State, params: Params, at: At) -> tuple[Params, State]:
        a = self.momentum
        v = tree.like(tree.zip_map(lambda v, g: a * v + g, state["v"], grads), params)
        return tree.zip_map(lambda p, g, v: p - at.rate * (g + a * v), params, grads, v), {"v": v}
