"""Units that say the same."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ..probe import Measure, Probe, Trace

CORRELATION = "mean |correlation| of units"


def mean_correlation(a: Tensor) -> float:
    """Mean |r_jk| over all pairs j < k of units of a (rows, units) that vary; NaN for fewer than two."""
    a = a.double()
    a = a[:, a.std(0) > 0]
    if a.shape[1] < 2:
        return math.nan
    r = torch.corrcoef(a.T).abs()
    j, k = torch.triu_indices(len(r), len(r), 1)
    return float(r[j, k].mean())


class CoAdaptation(Probe):
    """Mean |correlation| between the activations of a hidden layer's units, at the end. For n independent rows it is
    √(2/(π n)) by chance.

    Rule: none: how much agreement is too much depends on the task and on the width; it is read between set-ups.
    Known false alarms: it judges nothing.
    Source: Hinton et al. (2012); Cogswell et al. (2016); deck D1; docs/decisions/0011.
    """

    widest: int = 1024  # units up to which all pairs are taken

    def measure(self, trace: Trace) -> list[Measure]:
        hidden = [s for s in trace.last.layers if not s.is_output and 1 < s.a.shape[-1] <= self.widest]
        return [self.number(s.name, mean_correlation(s.a), CORRELATION) for s in hidden]
