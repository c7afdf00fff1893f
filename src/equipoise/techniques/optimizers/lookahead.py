from __future__ import annotations

from typing import Any

import torch

from ... import tree
from ...technique import At, Params, State, Technique, knob, option
from .._whole import whole


class Lookahead(Technique):
    """Slow weights that follow the optimizer's fast ones: k steps forward, one step back.

    every k steps: φ ← φ + α (θ − φ),  θ ← φ;  the optimizer's own buffers are kept

    Knobs: `alpha` = α in [0, 1]; 1 switches it off (the fast weights are taken as they are).
    Options: `k` ≥ 1 steps between two synchronizations.
    Shapes: state φ, one tensor per parameter. The run ends on the slow weights where k divides the number of steps.
    Trade: averages out the variance of the fast weights, and lets them take larger rates; costs reach (α of the way)
        and one copy of the parameters.
    Source: Zhang, Lucas, Hinton, Ba (2019).
    """

    off = {"alpha": 1.0}
    turn = 1  # after the optimizer
    alpha: float = knob(0.5, low=0.0, high=1.0)
    k: int = option(5)

    def check(self) -> None:
        whole(self, "k", 1)

    def start(self, params: Params, net: Any) -> State:
        return {"slow": dict(params)}

    def update(self, grads: Params, state: State, params: Params, at: At) -> tuple[Params, State]:
        slow, now = state["slow"], (at.t + 1) % self.k == 0
        # θ − (1 − α)(θ − φ) is φ + α(θ − φ), and at α = 1 it is θ without rounding
        back = tree.like(tree.zip_map(lambda p, s: p - (1 - self.alpha) * (p - s), params, slow), params)
        new = tree.zip_map(lambda p, b: torch.where(now, b, p), params, back)
        return new, {"slow": tree.zip_map(lambda s, b: torch.where(now, b, s), slow, back)}
