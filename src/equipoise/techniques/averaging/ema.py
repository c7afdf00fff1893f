from __future__ import annotations

from typing import Any

import torch

from ... import tree
from ...technique import At, Params, State, Technique, knob
from ._statistics import refreshed


class EMA(Technique):
    """The exponential moving average of the weights is what is kept.

    e ← d e + (1 − d) θ after every step, from e = 0;  kept: e/(1 − dᵀ) after T steps, so that the start has no weight

    Training goes on with θ, and so do the curves and the decisions on `stop`. Batch-norm statistics are measured anew
    for the average on the clean fit rows.

    Knobs: `decay` = d in [0, 1); 0 switches it off. It reaches back about 1/(1 − d) steps, 100 by default.
    Shapes: state e, one tensor per parameter.
    Trade: variance down at no bias where the run has settled; behind where it has not: keep 1/(1 − d) well below T. One
        multiply-add and one copy per parameter.
    Source: Polyak and Juditsky (1992); Kingma and Ba (2015), section 7.2, for the correction.
    """

    turn = 2  # after the optimizer and Lookahead
    off = {"decay": 0.0}
    conflicts = {"SWA": "each of them decides which weights are kept."}
    decay: float = knob(0.99, low=0.0, high=1.0, open="high")

    def start(self, params: Params, net: Any) -> State:
        none = next(iter(params.values())).new_zeros((), dtype=torch.float64)
        return {"mean": tree.zeros_like(params), "weight": none}

    def update(self, grads: Params, state: State, params: Params, at: At) -> tuple[Params, State]:
        d = self.decay
        mean = tree.like(tree.zip_map(lambda e, p: d * e + (1 - d) * p, state["mean"], params), params)
        return params, {"mean": mean, "weight": d * state["weight"] + (1 - d)}

    def finish(self, params: Params, buffers: Params, at: At) -> tuple[Params, Params]:
        if self.decay == 0 or float(at.state["weight"]) == 0:  # off, or not a step was made
            return params, buffers
        mean = tree.like(tree.zip_map(lambda e: e / at.state["weight"], at.state["mean"]), params)
        return mean, refreshed(mean, buffers, at)
