"""A split that leaves too little to learn from."""

from __future__ import annotations

from collections.abc import Sequence

from ..probe import Finding, Measure, Probe, Trace, ratio
from ._held_out import LOW, lower_bound

ROWS = "fit rows for each stop row"


class FewRows(Probe):
    """Rows of `fit` for each row of `stop`, and the gap L_stop − L_fit at the end.

    Rule: fewer rows to learn from than to stop by, and it costs: the 95 % interval of the gap lies above 0.
    Known false alarms: data so plain that a few rows tell all.
    Source: Kearns (1996), A bound on the error of cross validation with consequences for the training-test split;
        docs/decisions/0020 and 0022.
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

    def measure(self, trace: Trace) -> list[Measure]:
        if not trace.stop or min(len(trace.stop[-1]), len(trace.fit)) < 3:
            return []
        return [
            self.number("fit", ratio(trace.rows["fit"], trace.rows["stop"]), ROWS, self.least),
            self.number("loss", lower_bound(trace.stop[-1], trace.fit, paired=False), LOW, 0.0),
        ]

    def judge(self, measures: Sequence[Measure], trace: Trace) -> list[Finding]:
        if not measures or trace.failed:
            return []
        rows, gap = measures
        if not (rows.value < self.least and gap.value > 0):
            return []
        why = (
            "rows that only judge would teach more: give fit more of them (split=), or collect more; no recipe does it."
        )
        return [self.finding(rows, "fewer rows to learn from than to stop by, and it costs", why)]
