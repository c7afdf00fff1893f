"""Mean |correlation| of pairs of units, by hand, against NumPy, and by chance."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from equipoise.probes.co_adaptation import mean_correlation

U, V = torch.tensor([1.0, -1.0, 1.0, -1.0]), torch.tensor([1.0, 1.0, -1.0, -1.0])


def test_one_pair_of_three_agrees():
    assert mean_correlation(torch.stack([U, -U, V], 1)) == pytest.approx(1 / 3)
    assert mean_correlation(torch.stack([U, 3 * U + 5, torch.ones(4)], 1)) == pytest.approx(1.0)  # constants left out
    assert math.isnan(mean_correlation(U[:, None]))


def test_it_is_numpys():
    a = torch.randn(40, 7, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    r = np.abs(np.corrcoef(a.numpy().T))
    assert mean_correlation(a) == pytest.approx(r[np.triu_indices(7, 1)].mean(), rel=1e-12)


def test_independent_units_correlate_by_chance():
    """|r| of n rows has mean √(2/(π n)) and variance below 1/n; 1,225 pairs, pairwise independent."""
    n = 400
    a = torch.randn(n, 50, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    assert abs(mean_correlation(a) - math.sqrt(2 / (math.pi * n))) < 5.5 / math.sqrt(n * 1225)
