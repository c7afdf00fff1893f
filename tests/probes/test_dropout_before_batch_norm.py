"""Vector A-13: what inverted dropout does to the variance in front of batch norm."""

from __future__ import annotations

import math

import pytest
import torch

from equipoise.probes.dropout_before_batch_norm import ratio_after_dropout, variance_shift

MEAN, VARIANCE = 1 / math.sqrt(2 * math.pi), 0.5 - 1 / (2 * math.pi)  # of max(0, N(0, 1))


@pytest.mark.parametrize(("keep", "expected"), [(0.5, 0.40536), (0.7, 0.61399), (0.9, 0.85985)])
def test_half_rectified_inputs(keep: float, expected: float):
    assert ratio_after_dropout(MEAN, VARIANCE, keep) == pytest.approx(expected, abs=5e-6)


@pytest.mark.parametrize("keep", [0.3, 0.5, 0.8])
def test_centred_inputs(keep: float):
    assert ratio_after_dropout(0.0, 2.0, keep) == pytest.approx(keep, rel=1e-12)


def test_the_shift_that_batch_norm_would_keep():
    """The running variance is that of dropped inputs; a sample variance of 200,000 has a relative error under 1 %."""
    g, keep = torch.Generator().manual_seed(0), 0.5
    z = torch.relu(torch.randn(200_000, 3, generator=g))
    dropped = z * (torch.rand(z.shape, generator=g) < keep) / keep
    found = variance_shift(z, dropped.var(0))
    assert found == pytest.approx(1 / 0.40536, rel=0.05)
    assert variance_shift(z, z.var(0)) == pytest.approx(1.0, abs=1e-6)
    assert variance_shift(z, z.var(0) / 2) == pytest.approx(2.0, rel=1e-6)
