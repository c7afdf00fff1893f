"""Is a batch's gradient signal or noise?"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from ..probe import WARNING, Finding, Measure, Probe, Trace, ratio

SCALE, SIGNAL, NOISE, SHARE = "examples", "|G|²", "tr Σ", "batch size over noise scale"
SNR, EVIDENCE, NORM_TEST = "mean of ḡ²/var g, parts", "1 − n·mean of ḡ²/s²", "θ of the norm test"


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


def signal_to_noise(grads: Sequence[Tensor]) -> float:
    """Mean over the elements j of ḡ_j²/(mean_i g_ij² − ḡ_j²) of n gradients, elements without spread left out: the
    gradient signal-to-noise ratio (Liu et al. 2020)."""
    n = len(grads)
    mean = sum(grads[1:], grads[0]) / n
    variance = sum(((g - mean).square() for g in grads), torch.zeros_like(mean)) / n
    some = variance > 0
    each = torch.where(some, mean.square() / variance, 0.0)
    return ratio(each.sum(dtype=torch.float64), some.sum())


def evidence(snr: float, n: int) -> float:
    """1 − n·mean_j ḡ_j²/s_j², s² = n/(n − 1)·(mean_i g_ij² − ḡ_j²): above 0 the gradient is as small as noise makes it,
    and one might stop (Mahsereci et al. 2017, eq. 7)."""
    return 1 - (n - 1) * snr


def norm_test(found: NoiseScale, mean_square: float, n: int) -> float:
    """θ = √(Σ_j s_j²/(B‖ḡ‖²)) of n·b = B examples: noise over signal of the whole batch's gradient."""
    return math.sqrt(max(found.noise, 0.0) / (n * mean_square)) if mean_square > 0 else math.nan


def pooled(scales: Sequence[NoiseScale]) -> NoiseScale:
    """Mean signal and mean noise: the ratio of averages, as each is unbiased and their ratio is not."""
    mean = torch.tensor(scales, dtype=torch.float64).mean(0)
    return NoiseScale(float(mean[0]), float(mean[1]))


class GradientNoise(Probe):
    """Gradient noise scale B_simple = tr Σ/|G|² in examples: the batch at which noise and signal are equal.

    From micro-batches of the probe batch, so that it holds with batch norm too; numerator and denominator are averaged
    over the moments before they are divided. NaN where the noise exceeds the signal. Beside it, at the end: mean signal
    to noise of an element of the gradient of a part, the evidence that it is noise, and θ of the norm test.

    Rule: a batch far under a tenth of B_simple, a hundredth (or B_simple undefined), while less than a tenth of the
        constant's loss is explained. A large batch is a matter of cost, not a fault: the ratio is reported.
    Known false alarms: tasks that nobody can learn; the start of a plateau.
    Source: McCandlish et al. (2018) §2.2 and A.1; deck D3; equipoise METHODS A.3.
    """

    follows = (
        "unscaled_inputs",
        "minibatch_shift",
        "wrong_targets",
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
        some = [m.micro for m in trace.moments if len(m.micro.squares) > 1]
        if not some:
            return []
        each = [noise_scale(m.squares, m.mean, m.rows) for m in some]
        found, last = pooled(each), some[-1]
        return [
            self.number(
                "all parameters", trace.batch_size / found.scale if found.scale else math.inf, SHARE, self.share
            ),
            self.number("all parameters", found.scale, SCALE),
            self.number("all parameters", found.signal, SIGNAL),
            self.number("all parameters", found.noise, NOISE),
            self.number("all parameters", last.snr, SNR),
            self.number("all parameters", evidence(last.snr, len(last.squares)), EVIDENCE),
            self.number("all parameters", norm_test(each[-1], last.mean, last.rows * len(last.squares)), NORM_TEST),
        ]

    def judge(self, measures: Sequence[Measure], trace: Trace) -> list[Finding]:
        if not measures or trace.learned >= self.learned:
            return []
        share, signal = measures[0], measures[2]
        undefined = math.isnan(share.value) and signal.value <= 0
        if not undefined and not share.value < self.share:
            return []
        why = "at a hundredth of the noise scale steps are mostly noise; use a larger batch_size or a lower rate."
        return [self.finding(share, "noise dominates the gradient", why, (), WARNING)]
