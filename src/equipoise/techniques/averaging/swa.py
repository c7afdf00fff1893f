from __future__ import annotations

from typing import Any

import torch

from ... import tree
from ...technique import At, Params, State, Technique, knob
from ._statistics import refreshed


class SWA(Technique):
    """Stochastic weight averaging: the mean of the weights at the ends of the last epochs is what is kept.

    w̄ ← w̄ + (w − w̄)/(n + 1), n ← n + 1 at the end of every epoch from the fraction a of the run on

    The last weights always count. Training goes on with w, and so do the curves and the decisions on `stop`.
    Batch-norm statistics are measured anew for the average on the clean fit rows.

    Knobs: `after` = a in [0, 1]; 1 switches it off.
    Shapes: state w̄, one tensor per parameter, and the count n.
    Trade: the centre of a flat region instead of its rim: variance down. It needs a rate that still moves there: a
        constant one, or a schedule with a floor; after a rate that falls to 0 there is nothing to average.
    Source: Izmailov et al. (2018).
    """

    turn = -2  # before the optimizer: it sees the weights that the epoch before has ended with
    off = {"after": 1.0}
    conflicts = {"EMA": "each of them decides which weights are kept."}
    companions = ("a constant rate at the end",)
    after: float = knob(0.75, low=0.0, high=1.0)

    def start(self, params: Params, net: Any) -> State:
        none = next(iter(params.values())).new_zeros((), dtype=torch.float64)
        return {"mean": tree.zeros_like(params), "count": none, "epoch": none.clone()}

    def update(self, grads: Params, state: State, params: Params, at: At) -> tuple[Params, State]:
        now = (at.epoch > state["epoch"]) & (at.t >= self.after * at.steps)
        n = state["count"] + now
        step = torch.where(now, 1 / n.clamp(min=1), 0.0)
        mean = tree.like(tree.zip_map(lambda m, p: m + step * (p - m), state["mean"], params), params)
        return params, {"mean": mean, "count": n, "epoch": torch.zeros_like(n) + at.epoch}

    def finish(self, params: Params, buffers: Params, at: At) -> tuple[Params, Params]:
        n = float(at.state["count"])
        if n == 0:  # off, or ended before its time
            return params, buffers
        mean = tree.like(tree.zip_map(lambda m, p: m + (p - m) / (n + 1), at.state["mean"], params), params)
        return mean, refreshed(mean, buffers, at)
