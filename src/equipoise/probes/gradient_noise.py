"""Is a batch's gradient signal or noise?"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from ..probe import WARNING, Finding, Measure, Probe, Trace

SCALE, SIGNAL, NOISE, SHARE = "examples", "|G|²", "tr Σ", "batch size over noise scale"


class NoiseScale(NamedTuple):
    """Unbiased |G|² and S = tr Σ, and their ratio B_simple: NaN (undefined) where the noise exceeds the signal."""

    signal: float
    noise: float

    @property
    def scale(self) -> float:
        return self.noise / self.signal if self.signal > 0 else math.nan


def noise_scale(squares: Tensor, mean_square: float, rows: int) -> NoiseScale:
    """From n micro-batches of b rows: |G|² = (n‖ḡ‖² − mean‖g_i‖²)/(n − 1), S = b·n/(n − 1)·(mean‖g_i‖² − ‖ḡ‖²)."""
    n, mean = len(squares), float(squares.double().mean())
    return NoiseScale((n * mean_square - mean) / (n - 1), rows * n / (n - 1) * (mean - mean_square))


def pooled(scales: Sequence[NoiseScale]) -> NoiseScale:
    """Mean signal and mean noise: the ratio of averages, as each is unbiased and their ratio is not."""
    mean = torch.tensor(scales, dtype=torch.float64).mean(0)
    return NoiseScale(float(mean[0]), float(mean[1]))


class GradientNoise(Probe):
    """Gradient noise scale B_simple = tr Σ/|G|² in examples: the batch at which noise and signal are equal.

    From micro-batches of the probe batch, so that it holds with batch norm too; numerator and denominator are averaged
    over the moments before they are divided. NaN where the noise exceeds the signal.

    Rule: a batch far under a tenth of B_simple, a hundredth (or B_simple undefined), while less than a tenth of the
        constant's loss is explained. A large batch is a matter of cost, not a fault: the ratio is reported.
    Known false alarms: tasks that nobody can learn; the start of a plateau.
    Source: McCandlish et al. (2018) §2.2 and A.1; deck D3; equipoise METHODS A.3.
    """

    follows = (
        "unscaled_inputs",
        "minibatch_shift",
        "symmetry",
        "activation_profile",
        "gradient_profile",
        "batch_norm_statistics",
        "gradient_spikes",
        "saturation",
        "dead_units",
        "update_ratio",
    )
    share: float = 0.01
    learned: float = 0.1

    def measure(self, trace: Trace) -> list[Measure]:
        each = [noise_scale(m.micro, m.micro_mean, m.micro_rows) for m in trace.moments if len(m.micro) > 1]
        if not each:
            return []
        found = pooled(each)
        return [
            self.number(
                "all parameters", trace.batch_size / found.scale if found.scale else math.inf, SHARE, self.share
            ),
            self.number("all parameters", found.scale, SCALE),
            self.number("all parameters", found.signal, SIGNAL),
            self.number("all parameters", found.noise, NOISE),
        ]

    def judge(self, measures: Sequence[Measure], trace: Trace) -> list[Finding]:
        if not measures or trace.learned >= self.learned:
            return []
        share, signal = measures[0], measures[2]
        undefined = math.isnan(share.value) and signal.value <= 0
        if not undefined and not share.value < self.share:
            return []
        why = "at a hundredth of the noise scale steps are mostly noise; use a larger batch_size or a lower rate."
        return [self.finding(share, "noise dominates the gradient", why, trace.at_rate(0.1), WARNING)]
