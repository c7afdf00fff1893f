"""Targets of fit that do not go with its inputs as those of stop do."""

from __future__ import annotations

from collections.abc import Sequence

from ..probe import Finding, Measure, Probe, Trace
from ._told import chance

CHANCE = "probability by chance of fit rows told so much worse than stop rows"
DISTANCE = "how much worse, in deviations of random relabellings"
SHARE, TOLD = "share of wrong targets, estimated", "share of the targets' variance that other rows tell, on stop"


class WrongTargets(Probe):
    """Do inputs tell the targets of `fit` as well as those of `stop`? One kernel ridge regression on the rows of both
    tells the target y of each row by all the others: f. It never learns which rows are those of fit, so rows divided
    by chance can change their labels: the excess ‖y − f‖² − ‖y − ȳ‖², summed over fit, is compared with its sums after
    9,999 random relabellings that keep each class's (each bin of targets') number of rows in fit.

    Beside it the share of wrong targets w = 1 − b_fit/b_stop, b the slope of y on f: 0 for targets drawn anew.

    Rule: one in 1,000 such relabellings, at most, makes fit as bad: exact, whatever the network does.
    Known false alarms: chance, in one of 1,000 splits; splits by time or by group, where stop is easier on purpose.
        Targets that are as wrong in stop as in fit show nothing.
    Source: Pitman (1937), tests by permutation; Northcutt et al. (2021), Confident learning (labels that other rows
        contradict); docs/decisions/0022.
    """

    follows = ("split_shift", "minibatch_shift")
    level: float = 0.001

    def measure(self, trace: Trace) -> list[Measure]:
        t = trace.told
        if t is None:
            return []
        p, z = chance(t)
        return [
            self.number("fit", p, CHANCE, self.level),
            self.number("fit", z, DISTANCE),
            self.number("fit", t.share_wrong, SHARE),
            self.number("stop", t.share, TOLD),
        ]

    def judge(self, measures: Sequence[Measure], trace: Trace) -> list[Finding]:
        if not measures or not measures[0].value <= self.level:
            return []
        why = f"by the same rule some {measures[2].value:.0%} of them are wrong: look at these rows and their order."
        return [self.finding(measures[0], "targets of fit do not go with its inputs as those of stop do", why)]
