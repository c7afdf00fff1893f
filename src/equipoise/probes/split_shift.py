"""Roles of the rows whose inputs come from different distributions."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from ..probe import WARNING, Finding, Measure, Probe, Trace

DISTANCE, CHANNEL = "largest Kolmogorov-Smirnov distance of a channel to fit", "number of that channel"


def distances(a: Tensor, b: Tensor) -> Tensor:
    """D = max_v |F_a(v) − F_b(v)| of the empirical distributions of each channel; a (n, channels), b (m, channels)."""
    n, m = len(a), len(b)
    values, order = torch.cat([a, b.to(a)]).T.contiguous().sort(1)
    rise = torch.where(order < n, m, -n).cumsum(1)  # n·m·(F_a − F_b) behind each value, in whole numbers
    last = torch.ones_like(rise, dtype=torch.bool)  # of equal values the last: all of them are below it
    last[:, :-1] = values[:, 1:] != values[:, :-1]
    return (rise * last).abs().amax(1).double() / (n * m)


def critical(n: int, m: int, level: float) -> float:
    """The D that n and m rows of one distribution exceed with probability ``level`` (Smirnov's limit)."""
    from scipy import stats

    return float(stats.kstwobign.isf(level)) * math.sqrt((n + m) / (n * m))


class SplitShift(Probe):
    """Largest Kolmogorov-Smirnov distance between the inputs of `fit` and those of stop, assess and test, over channels
    (of images and sequences: their means per example). Inputs only: no target and no score of assess and test is read.

    Rule: D over what chance gives once in 10⁴ for all channels and roles together, and over 0.1, which many rows alone
        do not reach.
    Known false alarms: splits by time or by group, which are to differ.
    Source: Smirnov (1939); Quiñonero-Candela et al. (2009), Dataset shift; docs/decisions/0012.
    """

    level: float = 1e-4
    least: float = 0.1

    def measure(self, trace: Trace) -> list[Measure]:
        out, fit = [], trace.roles.get("fit")
        others = {k: v for k, v in trace.roles.items() if k != "fit" and len(v) > 1}
        if fit is None or not others:
            return []
        for role, x in others.items():
            d = distances(fit, x)
            limit = critical(len(fit), len(x), self.level / (len(d) * len(others)))
            out.append(self.number(role, d.max(), DISTANCE, max(limit, self.least)))
            out.append(self.number(role, d.argmax(), CHANNEL))
        return out

    def judge(self, measures: Sequence[Measure], trace: Trace) -> list[Finding]:
        why = "what is judged is not what is trained on: check the split (its seed, groups=, split=), or the files."
        return [
            self.finding(m, f"inputs of {m.where} are distributed otherwise than those of fit", why, (), WARNING)
            for m in measures
            if m.threshold is not None and m.value > m.threshold
        ]
