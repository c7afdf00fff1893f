"""Kolmogorov-Smirnov distances by channel, against SciPy."""

from __future__ import annotations

import pytest
import torch
from scipy import stats

from equipoise.probes.split_shift import critical, distances


def test_by_hand():
    assert distances(torch.tensor([[1.0], [2.0], [3.0]]), torch.tensor([[2.0], [3.0], [4.0]])).tolist() == [
        pytest.approx(1 / 3)
    ]
    assert distances(torch.zeros(3, 1), torch.ones(5, 1)).tolist() == [1.0]
    assert distances(torch.ones(3, 1), torch.ones(5, 1)).tolist() == [0.0]


def test_it_is_scipys():
    g = torch.Generator().manual_seed(0)
    a, b = torch.randn(70, 4, generator=g).round(decimals=1), 0.3 + torch.randn(45, 4, generator=g).round(decimals=1)
    expected = [stats.ks_2samp(a[:, k].numpy(), b[:, k].numpy()).statistic for k in range(4)]
    assert distances(a, b).tolist() == pytest.approx(expected, rel=1e-12)


def test_the_limit_is_smirnovs():
    d = critical(400, 300, 1e-3)
    exact = stats.kstwobign.sf(d * (400 * 300 / 700) ** 0.5)
    assert exact == pytest.approx(1e-3, rel=1e-6)
    assert 0.13 < d < 0.16  # tables: 1.95·√(700/120000) = .149
