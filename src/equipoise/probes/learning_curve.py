"""Would more data pay, and more than augmentation?"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch

from ..probe import WARNING, Finding, Measure, Probe, Trace, ratio

GAIN, GAIN_LOW = "loss that the last doubling of the rows takes off", "lower 95 % bound of it"
NEXT, SHARE = "loss that the next doubling would take off", "that over the loss now"
AUGMENTED, AUGMENTED_LOW = "loss that augmentation takes off half of the rows", "lower 95 % bound of its gain"
MORE, MORE_LOW, MORE_HIGH = (
    "loss with augmentation less loss with twice the rows",
    "lower 95 % bound of that difference",
    "upper 95 % bound of that difference",
)
UNITS = (GAIN, GAIN_LOW, NEXT, SHARE, AUGMENTED, AUGMENTED_LOW, MORE, MORE_LOW, MORE_HIGH)
CONTRASTS = ((1, -1, 0), (1, 0, -1), (0, -1, 1))  # of half, whole, half augmented


def next_gain(quarter: float, half: float, whole: float) -> float:
    """What doubling the rows again takes off the loss: exact for L(n) = c + a·n^−b, whose gains fall by 2^−b a
    doubling; never more than the last doubling took, and that where the curve does not bend so."""
    last, before = half - whole, quarter - half
    return last * last / before if before > last > 0 else last


class LearningCurve(Probe):
    """Loss on `stop` after equal courses of training on a quarter, half and all of the fit rows, and on half of them
    with augmentation, three paired seeds each; measured where it is asked for (`sizes`), missing otherwise.

    Gain of the last doubling L(n/2) − L(n), of the next one (gains that shrink by a constant factor), of augmentation
    L(n/2) − L(n/2, augmented), and whether twice the rows beat augmentation: L(n/2, augmented) − L(n). Intervals are
    the crossed seed × example intervals of the study.

    Rule: the interval of the last gain lies above 0, and the next doubling would take over a quarter of the loss off.
        Augmentation is proposed where the interval of its gain lies above 0.
    Known false alarms: training that is far from done, where more rows only mean more of each step's variety.
    Source: Cortes et al. (1993), learning curves; decks D0, D1 (more data, augmentation); docs/decisions/0016.
    """

    follows = (
        "unscaled_inputs", "minibatch_shift", "symmetry", "activation_profile", "gradient_profile", "gradient_spikes",
        "saturation", "dead_units", "update_ratio", "split_shift",
    )  # fmt: skip
    share: float = 0.25

    def measure(self, trace: Trace) -> list[Measure]:
        where, s = "rows", trace.sizes
        if s is None or not bool(torch.stack([s.quarter, s.half, s.whole, s.augmented]).isfinite().all()):
            return [self.number(where, math.nan, unit) for unit in UNITS]
        from ..stats import interval

        # the quarter enters no contrast, and its seeds differ by more: it would widen the intervals of the others
        arms = torch.stack([s.half, s.whole, s.augmented]).double().numpy()
        found = interval(arms, np.array(CONTRASTS))
        quarter, half, whole = (float(v.double().mean()) for v in (s.quarter, s.half, s.whole))
        more = next_gain(quarter, half, whole)
        values = (
            found.effect[0], found.low[0], more, ratio(more, whole), found.effect[1], found.low[1], found.effect[2],
            found.low[2], found.high[2],
        )  # fmt: skip
        thresholds = {GAIN_LOW: 0.0, SHARE: self.share, AUGMENTED_LOW: 0.0}
        return [self.number(where, v, unit, thresholds.get(unit)) for v, unit in zip(values, UNITS, strict=True)]

    def judge(self, measures: Sequence[Measure], trace: Trace) -> list[Finding]:
        m = {v.unit: v for v in measures}
        if trace.sizes is None or not (m[GAIN_LOW].value > 0 and m[SHARE].value > self.share):
            return []
        beats = "more than" if m[MORE_LOW].value > 0 else "less than" if m[MORE_HIGH].value < 0 else "about as much as"
        why = (
            f"the last doubling took {m[GAIN].value:.3g} off, {beats} augmentation did ({m[AUGMENTED].value:.3g}, "
            f"with {trace.sizes.augmentation!r}); collect more rows."
        )
        entries = [trace.sizes.augmentation] if m[AUGMENTED_LOW].value > 0 else []
        return [self.finding(m[SHARE], "the learning curve still falls: there are too few rows", why, entries, WARNING)]
