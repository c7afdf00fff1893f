from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ... import tree
from ...technique import At, Params, State, Technique, knob, option
from .._whole import whole
from ._combine import MEANS, combined, tasks_of
from ._statistics import refreshed


class Snapshot(Technique):
    """M members for the price of one run: the weights at the end of each of M cosine cycles of the learning rate.

    ε_t = ε · (f + (1 − f) (1 + cos(π (t − s_m)/(s_{m+1} − s_m)))/2) in cycle m, from s_m = ⌈m T/M⌉ to s_{m+1}; each
    cycle starts at ε again and ends in a minimum, whose weights are copied. Predictions are combined as in Ensemble.

    A run that ends before its time has the snapshots of the cycles it completed, and its own weights where there is
    none. Batch-norm statistics of each snapshot are measured anew on the clean fit rows.

    Knobs: `floor` = f in [0, 1), the fraction of the rate at the end of a cycle.
    Options: `members` = M ≥ 1 cycles; `mean` = "arithmetic", "geometric" or "vote".
    Shapes: state: M copies of the parameters, (M, …) each; predictions (M, n, K) to (n, K).
    Errors: geometric means and votes of targets (regression).
    Trade: part of an ensemble's gain (variance down) at the cost of one run, less than M independent runs give: the
        cycles are short and their minima related.
    Source: Huang et al. (2017).
    """

    slot = "schedule"
    turn = 3  # after the optimizer and everything that moves its weights
    conflicts = dict.fromkeys(("EMA", "SWA"), "each of them decides which weights are kept.")
    floor: float = knob(0.0, low=0.0, high=1.0, open="high")
    members: int = option(5)
    mean: str = option("arithmetic", choices=MEANS)

    @property
    def tasks(self) -> tuple[str, ...]:  # pyright: ignore[reportIncompatibleVariableOverride]
        return tasks_of(self.mean)

    def check(self) -> None:
        whole(self, "members", 1)

    def schedule(self, t: Tensor, steps: int, rate: Tensor) -> Tensor:
        m = torch.floor(t * self.members / steps)
        begin, end = torch.ceil(m * steps / self.members), torch.ceil((m + 1) * steps / self.members)
        way = (t - begin) / (end - begin)
        return rate * (self.floor + (1 - self.floor) * (1 + torch.cos(torch.pi * way)) / 2)

    def start(self, params: Params, net: Any) -> State:
        copies = {k: torch.zeros_like(p).expand(self.members, *p.shape).clone() for k, p in params.items()}
        return {"copies": copies, "taken": next(iter(params.values())).new_zeros((), dtype=torch.float64)}

    def update(self, grads: Params, state: State, params: Params, at: At) -> tuple[Params, State]:
        taken = state["taken"]
        ends = torch.floor((at.t + 1) * self.members / at.steps) > torch.floor(at.t * self.members / at.steps)
        here = ends & (torch.arange(self.members, device=taken.device) == taken)
        copies = tree.zip_map(lambda c, p: torch.where(here.view(-1, *[1] * p.dim()), p, c), state["copies"], params)
        return params, {"copies": copies, "taken": taken + ends}

    def snapshots(self, params: Params, buffers: Params, at: At) -> list[tuple[Params, Params]]:
        """(weights, buffers) of each member, at the end of a run; ``at`` as in `finish`."""
        taken = int(at.state["taken"])
        if not taken:
            return [(params, buffers)]
        each = [{k: c[m] for k, c in at.state["copies"].items()} for m in range(taken)]
        return [(p, refreshed(p, buffers, at)) for p in each]

    def combine(self, predictions: Tensor) -> Tensor:
        """(M, n, K) to (n, K)."""
        return combined(predictions, self.mean)
