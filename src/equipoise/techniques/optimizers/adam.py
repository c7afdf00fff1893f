from __future__ import annotations

from typing import Any

import torch

from ... import tree
from ...technique import At, Params, State, Technique, knob


class Adam(Technique):
    """Adaptive moments: running means of the gradient and of its square, both corrected for their start at 0.

    m ← β₁ m + (1 − β₁) g,  v ← β₂ v + (1 − β₂) g²,  θ ← θ − ε m̂/(√v̂ + δ),
    m̂ = m/(1 − β₁ᵗ), v̂ = v/(1 − β₂ᵗ), t from 1

    Knobs: `rate` = ε > 0; `beta1`, `beta2` in [0, 1); `delta` = δ > 0, torch's eps.
    Shapes: state m, v, one tensor each per parameter.
    Trade: a rate per parameter, nearly free of the gradient's scale, over about 1/(1 − β₂) steps; twice the optimizer
        memory of momentum. An L2 penalty is divided by √v̂ too, so that it decays steep weights least: see AdamW.
    Source: Kingma and Ba (2015); deck D2.
    """

    slot = "optimizer"
    rate: float = knob(1e-3, low=0.0, open="low")
    beta1: float = knob(0.9, low=0.0, high=1.0, open="high")
    beta2: float = knob(0.999, low=0.0, high=1.0, open="high")
    delta: float = knob(1e-8, low=0.0, open="low")

    def start(self, params: Params, net: Any) -> State:
        return {"m": tree.zeros_like(params), "v": tree.zeros_like(params)}

    def update(self, grads: Params, state: State, params: Params, at: At) -> tuple[Params, State]:
        return adam(self, grads, state, params, at)


def adam(self: Any, grads: Params, state: State, params: Params, at: At) -> tuple[Params, State]:
    """The step of Adam, AdamW and Muon: ``self`` has beta1, beta2 and delta; ``at`` has the rate and the clock."""
    b1, b2 = self.beta1, self.beta2
    m = tree.like(tree.zip_map(lambda m, g: b1 * m + (1 - b1) * g, state["m"], grads), params)
    v = tree.like(tree.zip_map(lambda v, g: b2 * v + (1 - b2) * (g * g), state["v"], grads), params)
    size, root = at.rate / (1 - b1 ** (at.t + 1)), torch.sqrt(1 - b2 ** (at.t + 1))
    new = tree.zip_map(lambda p, m, v: p - size * m / (torch.sqrt(v) / root + self.delta), params, m, v)
    return new, {"m": m, "v": v}
