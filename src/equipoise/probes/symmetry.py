"""Units that start alike and stay alike."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from ..probe import Finding, Measure, Probe, Trace, of_unit, ratio
from ..technique import Params
from ._starts import usual_start
from .recurrent_radius import square

WEIGHT, GRADIENT, RANK = "diversity of weight rows", "diversity of gradient rows", "rank of the gradient"
OFFSET = "|mean| of the weights in their sd"


def diversity(w: Tensor, gates: int = 1) -> float:
    """D(W) = Σ_j ‖w_j − w̄‖²/Σ_j ‖w_j‖² over the rows w_j (units) of W; 0 where W = 0. The mean w̄ is that of the gate
    where W stacks several, as recurrent cells do: gates differ however alike the units are."""
    w = w.detach().double().flatten(1)
    total = float((w * w).sum())
    each = w.unflatten(0, (gates, -1))
    return float((each - each.mean(1, keepdim=True)).square().sum()) / total if total != 0 else 0.0


def gates_of(name: str, params: Params) -> int:
    """How many gates a weight stacks: rows of a recurrent module's weight over the size of its state."""
    again = params.get(name.replace("weight_ih", "weight_hh"))
    return len(again) // again.shape[1] if again is not None and "weight_" in name and square(again) else 1


def offset(w: Tensor) -> float:
    """|mean w|/sd w over all weights: 0 for a centred start, √3 for one from U[0, 1), whose units all look the same
    way; ∞ where all are equal."""
    w = w.detach().double()
    return ratio(w.mean().abs(), w.std(correction=0))


class Symmetry(Probe):
    """Are the units of a layer one unit? D(W) of each weight and of its gradient after a few steps; rank of the
    gradient; and how far from 0 the weights start, |mean|/sd.

    D(W) = Σ_j ‖w_j − w̄‖²/Σ_j ‖w_j‖², between 0 (all rows alike) and 1; of recurrent cells gate by gate.

    Rule: both below 1e-6 after a few steps, in a layer of at least two units: equal units with equal gradients never
        part. Or the gradient not finite by then, and the weights all at one number at the start. The gradient's
        condition leaves alone what starts at zero on purpose: residual branches, heads.
    Known false alarms: none known; layers of one unit and frozen layers are not read.
    Source: decks D1, D2, D4; equipoise METHODS A.1 (1).
    """

    threshold: float = 1e-6

    def measure(self, trace: Trace) -> list[Measure]:
        out = []
        for layer, w, g in trace.early.weights():
            gates = gates_of(layer.weight, trace.early.params)
            if len(w) >= 2 * gates:
                out.append(self.number(layer.name, diversity(w, gates), WEIGHT, self.threshold))
                out.append(self.number(layer.name, diversity(g, gates), GRADIENT, self.threshold))
                finite = bool(g.isfinite().all())
                out.append(self.number(layer.name, torch.linalg.matrix_rank(g) if finite else float("nan"), RANK))
        out += [self.number(layer.name, offset(w), OFFSET) for layer, w, _ in trace.first.weights()]
        return out

    def judge(self, measures: Sequence[Measure], trace: Trace) -> list[Finding]:
        gradient, start = of_unit(measures, GRADIENT), of_unit(measures, OFFSET)

        def alike(where: str) -> bool:
            """Equal gradients; or none that is finite, of weights that start at one number other than 0."""
            g = gradient[where].value
            return g < self.threshold or (math.isnan(g) and start[where].value == math.inf)

        return [
            self.finding(
                m,
                "all units of the layer are alike, and so are their gradients",
                f"below {self.threshold:g} the layer works as a single unit, whatever its width.",
                [usual_start(trace)],
            )
            for where, m in of_unit(measures, WEIGHT).items()
            if m.value < self.threshold and alike(where)
        ]
