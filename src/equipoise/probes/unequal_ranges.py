"""Units of one layer on scales of their own."""

from __future__ import annotations

import math
from collections.abc import Sequence

from torch import Tensor

from .. import techniques as T
from ..probe import WARNING, Finding, Measure, Probe, Trace

SPREAD = "sd of units, 95th over 5th percentile"


def spread(z: Tensor) -> float:
    """95th over 5th percentile (linear) of the sds of the units of z (rows, units); constant units are left out, NaN
    for fewer than two others."""
    sd = z.double().std(0)
    sd = sd[sd > 0]
    return float(sd.quantile(0.95) / sd.quantile(0.05)) if len(sd) > 1 else math.nan


class UnequalRanges(Probe):
    """Spread of the units' standard deviations inside each hidden layer, before the activation, at the end.

    Rule: 95th over 5th percentile above 100 while less than half of the constant's loss is explained: one rate cannot
        serve all units. Percentiles leave alone a few units that are off.
    Known false alarms: sparse codes; mixtures of experts.
    Source: decks D0, D3 (why outputs are normalized); docs/decisions/0011.
    """

    follows = ("unscaled_inputs", "minibatch_shift", "symmetry", "gradient_spikes", "dead_units")

    threshold: float = 100.0
    learned: float = 0.5

    def measure(self, trace: Trace) -> list[Measure]:
        hidden = [s for s in trace.last.layers if not s.is_output]
        return [self.number(s.name, spread(s.z), SPREAD, self.threshold) for s in hidden if s.z.shape[-1] > 1]

    def judge(self, measures: Sequence[Measure], trace: Trace) -> list[Finding]:
        if trace.learned >= self.learned:
            return []
        why = "units whose outputs differ a hundredfold cannot learn at one rate."
        return [
            self.finding(m, "units of one layer have unequal ranges", why, [T.BatchNorm()], WARNING)
            for m in measures
            if m.value > self.threshold
        ]
