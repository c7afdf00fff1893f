"""A split that leaves too little to learn from."""

from __future__ import annotations

from collections.abc import Sequence

from ..probe import Finding, Measure, Probe, Trace, ratio
from ._held_out import LOW, lower_bound

ROWS, TOLD = "fit rows for each stop row", "lower bound of e_stop told by fit less told by stop"


class FewRows(Probe):
    """Rows of `fit` for each row of `stop`; the gap L_stop − L_fit at the end; and whether the rows of stop tell each
    other's targets better than the rows of fit tell them: the paired difference of the squared errors of a kernel ridge
    regression, e(told by fit) − e(told by the other rows of stop), in variances of the targets.

    Rule: fewer rows to learn from than to stop by, and it costs: the 95 % interval of the gap lies above 0, or the
        99.9 % interval of that difference does.
    Known false alarms: data so plain that a few rows tell all.
    Source: Kearns (1996), A bound on the error of cross validation with consequences for the training-test split;
        docs/decisions/0020.
    """

    follows = (
        "wrong_targets",
        "split_shift",
        "minibatch_shift",
        "unscaled_inputs",
        "symmetry",
        "activation_profile",
        "gradient_spikes",
        "update_ratio",
    )
    least: float = 1.0
    level: float = 0.999

    def measure(self, trace: Trace) -> list[Measure]:
        t = trace.told
        if t is None or not trace.stop:
            return []
        return [
            self.number("fit", ratio(*t.rows), ROWS, self.least),
            self.number("loss", lower_bound(trace.stop[-1], trace.fit, paired=False), LOW, 0.0),
            self.number("stop", lower_bound(t.stop_by_fit, t.stop_by_stop, paired=True, level=self.level), TOLD, 0.0),
        ]

    def judge(self, measures: Sequence[Measure], trace: Trace) -> list[Finding]:
        if not measures or trace.failed:
            return []
        rows, gap, told = measures
        if not (rows.value < self.least and (gap.value > 0 or told.value > 0)):
            return []
        why = (
            "rows that only judge would teach more: give fit more of them (split=), or collect more; no recipe does it."
        )
        return [self.finding(rows, "fewer rows to learn from than to stop by, and it costs", why)]
