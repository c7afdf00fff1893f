"""Held-out loss against the loss on fit rows: what several probes read."""

from __future__ import annotations

from torch import Tensor

from ..probe import Trace, ratio

LOW, WORSE = "lower 95 % bound of L_stop − L_fit", "L_stop in losses of the best constant"


def lower_bound(a: Tensor, b: Tensor, paired: bool, level: float = 0.95) -> float:
    """Lower end of the interval of mean a − mean b: paired t, or Welch's."""
    from scipy import stats

    x, y = a.double().numpy(), b.double().numpy()
    test = stats.ttest_rel(x, y) if paired else stats.ttest_ind(x, y, equal_var=False)
    return float(test.confidence_interval(level).low)


def learned_by_heart(trace: Trace) -> tuple[float, float]:
    """(lower 95 % bound of L_stop − L_fit, L_stop over that of the constant that is best on fit) at the end."""
    stop = trace.stop[-1]
    return lower_bound(stop, trace.fit, paired=False), ratio(stop.mean(), trace.baseline)
