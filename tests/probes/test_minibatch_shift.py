"""Vector A-15: one-way F between batches, against SciPy's analysis of variance."""

from __future__ import annotations

import pytest
import torch
from scipy import stats

from equipoise.probes.minibatch_shift import critical, one_way


def test_two_batches_of_two():
    assert one_way([torch.tensor([0.0, 2.0]), torch.tensor([4.0, 6.0])]) == 8.0


def test_it_is_scipys_f():
    g = torch.Generator().manual_seed(0)
    batches = [torch.randn(16, 1, generator=g, dtype=torch.float64) + 0.3 * k for k in range(6)]
    assert one_way(batches) == pytest.approx(stats.f_oneway(*(b.numpy() for b in batches)).statistic[0], rel=1e-12)


def test_shuffled_batches_have_f_about_one():
    """Mean of 400 F(9, 310) values: 310/308, each with variance below 2·1.1²·(9 + 308)/(9·306) = .28."""
    g = torch.Generator().manual_seed(1)
    found = [one_way(list(torch.randn(10, 32, 1, generator=g))) for _ in range(400)]
    assert abs(sum(found) / 400 - 310 / 308) < 5.5 * (0.28 / 400) ** 0.5


def test_the_limit_is_exceeded_as_often_as_it_says():
    assert stats.f.sf(critical(4, 8, 1e-4), 3, 28) == pytest.approx(1e-4)
