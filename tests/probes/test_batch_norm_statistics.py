"""Vector A-12: the errors of a batch's mean and variance, and their simulation."""

from __future__ import annotations

import math

import pytest
import torch

from equipoise.probes.batch_norm_statistics import standard_errors


@pytest.mark.parametrize(
    ("m", "variance", "mean"), [(2, 1.4142, 0.7071), (4, 0.8165, 0.5), (8, 0.5345, 0.3536), (32, 0.2540, 0.1768)]
)
def test_the_errors(m: int, variance: float, mean: float):
    assert standard_errors(m) == pytest.approx((variance, mean), abs=5e-5)
    g, n = torch.Generator().manual_seed(m), 40_000
    z = torch.randn(n, m, generator=g, dtype=torch.float64)
    # the sd of a sample of sds: relative error √((κ − 1)/(4n)) with kurtosis κ of what is averaged, at most 15 for χ²₁
    assert abs(float(z.var(1).std()) / variance - 1) < 5 * math.sqrt(14 / (4 * n))
    assert abs(float(z.mean(1).std()) / mean - 1) < 5 * math.sqrt(2 / (4 * n)) + 1e-4


def test_one_value_has_no_variance():
    assert standard_errors(1) == (math.inf, 1.0)
