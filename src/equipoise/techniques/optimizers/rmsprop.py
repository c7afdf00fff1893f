from __future__ import annotations

from typing import Any

import torch

from ... import tree
from ...technique import At, Params, State, Technique, knob


class RMSprop(Technique):
    """Gradient steps divided by the running root mean square of each derivative.

    v ← β v + (1 − β) g²,  θ ← θ − ε g/(√v + δ)

    v starts at 0 and is not corrected for it, so that the first steps are up to 1/√(1 − β) times larger than ε.

    Knobs: `rate` = ε > 0; `beta` = β in [0, 1), torch's alpha; `delta` = δ > 0, torch's eps.
    Shapes: state v, one tensor per parameter.
    Trade: a rate per parameter, nearly free of the gradient's scale: ill-scaled problems train at one rate; the noise
        of rarely used parameters is amplified alike. One buffer.
    Source: Tieleman and Hinton (2012), lecture 6.5; deck D2.
    """

    slot = "optimizer"
    rate: float = knob(1e-3, low=0.0, open="low")
    beta: float = knob(0.9, low=0.0, high=1.0, open="high")
    delta: float = knob(1e-8, low=0.0, open="low")

    def start(self, params: Params, net: Any) -> State:
        return {"v": tree.zeros_like(params)}

    def update(self, grads: Params, state: State, params: Params, at: At) -> tuple[Params, State]:
        b = self.beta
        v = tree.like(tree.zip_map(lambda v, g: b * v + (1 - b) * (g * g), state["v"], grads), params)
        return tree.zip_map(lambda p, g, v: p - at.rate * g / (torch.sqrt(v) + self.delta), params, grads, v), {"v": v}
