"""Targets of fit that do not go with its inputs as those of stop do."""

from __future__ import annotations

from collections.abc import Sequence

from ..probe import Finding, Measure, Probe, Trace
from ._held_out import lower_bound

BY_FIT, BY_STOP = "lower bound of e_fit − e_stop, told by fit", "lower bound of e_fit − e_stop, told by stop"
SHARE, TOLD = "share of wrong targets, estimated", "share of the targets' variance that stop tells of itself"


class WrongTargets(Probe):
    """Do inputs tell the targets of `fit` as well as those of `stop`? A kernel ridge regression on fit rows, and one on
    stop rows, tells the targets of both, none of them by itself; e is a squared error in variances of the targets.

    Beside it the share of wrong targets w = (e_fit − e_stop)/(2(1 − e_stop)), told by stop, as a target drawn anew lies
    1 + R² from what its inputs tell and a right one 1 − R².

    Rule: the 99.9 % interval (Welch) of mean e_fit − mean e_stop lies above 0, told by fit or told by stop. Rows split
        by chance are exchangeable, whatever the network does.
    Known false alarms: chance, in some 1.2 % of random splits rather than in .1 %, as one fitted rule makes the errors
        of rows depend on each other; splits by time or by group, where stop is easier on purpose. Targets that are as
        wrong in stop as in fit show nothing.
    Source: Northcutt et al. (2021), Confident learning (labels that other rows contradict); docs/decisions/0020.
    """

    follows = ("split_shift", "minibatch_shift")
    level: float = 0.999

    def measure(self, trace: Trace) -> list[Measure]:
        t = trace.told
        if t is None:
            return []
        return [
            self.number("fit", lower_bound(t.fit_by_fit, t.stop_by_fit, paired=False, level=self.level), BY_FIT, 0.0),
            self.number(
                "fit", lower_bound(t.fit_by_stop, t.stop_by_stop, paired=False, level=self.level), BY_STOP, 0.0
            ),
            self.number("fit", t.share_wrong, SHARE),
            self.number("stop", 1 - t.stop_by_stop.mean(), TOLD),
        ]

    def judge(self, measures: Sequence[Measure], trace: Trace) -> list[Finding]:
        worse = [m for m in measures[:2] if m.value > 0]
        if not worse:
            return []
        why = f"by the same rule some {measures[2].value:.0%} of them are wrong: look at these rows and their order."
        return [self.finding(worse[-1], "targets of fit do not go with its inputs as those of stop do", why)]
