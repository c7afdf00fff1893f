"""Overfitting: held-out loss that rises while training goes on."""

from __future__ import annotations

import math
from collections.abc import Sequence

from .. import techniques as T
from ..probe import Finding, Measure, Probe, Trace, ratio
from ._held_out import LOW, lower_bound

GAP, RISE = "(L_stop − L_fit)/L_fit", "lower 95 % bound of the rise of L_stop, in what it rose from"
SHARE = "lower 95 % bound of L_stop − L_fit in L₀"


def gap(fit: float, held_out: float) -> float:
    """(L_held-out − L_fit)/L_fit."""
    return ratio(held_out - fit, fit)


class GeneralizationGap(Probe):
    """Loss on stop rows over loss on as many fit rows, both in prediction mode without noise and augmentation.

    Rule: the 95 % interval of the gap lies above 0, and the loss on `stop` has risen over three evaluations in turn,
        the paired 95 % interval of that rise above a twentieth of the loss before it (Prechelt's GL₅, where early
        stopping stops too). A gap alone is no fault: every net that learns has one. Fit rows that do worse than others
        are no finding here: chance draws them too, and `wrong_targets` tells those that it did not.
    Known false alarms: a rise that later epochs take back (double descent).
    Source: Prechelt (1998); decks D0, D1; equipoise METHODS A.1 (11).
    """

    follows = (
        "split_shift", "minibatch_shift", "wrong_targets", "few_rows", "unscaled_inputs", "activation_profile",
        "gradient_spikes",
    )  # fmt: skip
    rise: float = 0.05

    def measure(self, trace: Trace) -> list[Measure]:
        if not trace.stop or len(trace.stop[-1]) < 3 or len(trace.fit) < 3:
            return []
        fit, stop = trace.fit, trace.stop[-1]
        rising = len(trace.stop) > 3 and all(
            float(b.mean()) > float(a.mean()) for a, b in zip(trace.stop[-4:], trace.stop[-3:], strict=False)
        )
        before = trace.stop[-4] if rising else stop
        rise = ratio(lower_bound(stop, before, paired=True), before.mean()) if rising else math.nan
        return [
            self.number("loss", gap(float(fit.mean()), float(stop.mean())), GAP),
            self.number("loss", lower_bound(stop, fit, paired=False), LOW, 0.0),
            self.number("loss", rise, RISE, self.rise),
            self.number("loss", ratio(lower_bound(stop, fit, paired=False), trace.baseline), SHARE),
        ]

    def judge(self, measures: Sequence[Measure], trace: Trace) -> list[Finding]:
        if not measures or trace.failed:
            return []
        _, low, rise, _ = measures
        entries = [T.Dropout(0.3), T.EarlyStopping()]
        if low.value > 0 and rise.value > self.rise:
            why = "what training still gains on its own rows it loses on others."
            return [self.finding(rise, "the held-out loss rises while training goes on", why, entries)]
        return []
