"""Overfitting: held-out loss that rises while training goes on."""

from __future__ import annotations

import math
from collections.abc import Sequence

from .. import techniques as T
from ..probe import Finding, Measure, Probe, Trace, ratio
from ._held_out import LOW, lower_bound

GAP, RISE = "(L_stop − L_fit)/L_fit", "lower 95 % bound of the rise of L_stop"
SHARE, BELOW = "lower 95 % bound of L_stop − L_fit in L₀", "lower 95 % bound of L_fit − L_stop in L₀"


def gap(fit: float, held_out: float) -> float:
    """(L_held-out − L_fit)/L_fit."""
    return ratio(held_out - fit, fit)


class GeneralizationGap(Probe):
    """Loss on stop rows over loss on as many fit rows, both in prediction mode without noise and augmentation.

    Rule: the 95 % interval of the gap lies above 0, and the loss on `stop` has risen over three evaluations in turn,
        the paired 95 % interval of that rise above 0 too. A gap alone is no fault: every net that learns has one. Or
        the interval of the gap lies below −0.03 of the constant's loss L₀: nothing does worse on the rows it is
        trained on than on others, unless their targets are wrong.
    Known false alarms: a rise that later epochs take back (double descent).
    Source: Prechelt (1998); decks D0, D1; equipoise METHODS A.1 (11).
    """

    follows = (
        "split_shift", "minibatch_shift", "wrong_targets", "few_rows", "unscaled_inputs", "activation_profile",
        "gradient_spikes",
    )  # fmt: skip
    below: float = 0.03

    def measure(self, trace: Trace) -> list[Measure]:
        if not trace.stop or len(trace.stop[-1]) < 3 or len(trace.fit) < 3:
            return []
        fit, stop = trace.fit, trace.stop[-1]
        rising = len(trace.stop) > 3 and all(
            float(b.mean()) > float(a.mean()) for a, b in zip(trace.stop[-4:], trace.stop[-3:], strict=False)
        )
        rise = lower_bound(stop, trace.stop[-4], paired=True) if rising else math.nan
        return [
            self.number("loss", gap(float(fit.mean()), float(stop.mean())), GAP),
            self.number("loss", lower_bound(stop, fit, paired=False), LOW, 0.0),
            self.number("loss", rise, RISE, 0.0),
            self.number("loss", ratio(lower_bound(stop, fit, paired=False), trace.baseline), SHARE),
            self.number("loss", ratio(lower_bound(fit, stop, paired=False), trace.baseline), BELOW, self.below),
        ]

    def judge(self, measures: Sequence[Measure], trace: Trace) -> list[Finding]:
        if not measures or trace.failed:
            return []
        _, low, rise, _, below = measures
        entries = [T.Dropout(0.3), T.EarlyStopping()]
        if low.value > 0 and rise.value > 0:
            why = "what training still gains on its own rows it loses on others."
            return [self.finding(rise, "the held-out loss rises while training goes on", why, entries)]
        if below.value > self.below:
            why = "only wrong targets, or rows of another kind, make them harder than rows never seen: look at them."
            return [self.finding(below, "the rows trained on do worse than others", why)]
        return []
