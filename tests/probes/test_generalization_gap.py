"""Vector A-19: the relative gap; its bounds against closed forms."""

from __future__ import annotations

import math

import pytest
import torch
from scipy import stats

from equipoise.probes._held_out import lower_bound
from equipoise.probes.generalization_gap import gap


def test_the_gap():
    assert gap(0.50, 0.55) == pytest.approx(0.10)
    assert gap(0.50, 0.56) == pytest.approx(0.12)
    assert not gap(0.50, 0.55) > 0.1 + 1e-9
    assert gap(0.50, 0.56) > 0.1


def test_the_bounds():
    a, b = torch.tensor([1.0, 2.0, 4.0, 5.0]).double(), torch.tensor([1.5, 1.0, 3.0, 3.5]).double()
    d = a - b
    paired = float(d.mean() - stats.t.ppf(0.975, 3) * d.std() / 2)
    assert lower_bound(a, b, paired=True) == pytest.approx(paired, rel=1e-12)
    va, vb = float(a.var()) / 4, float(b.var()) / 4
    df = (va + vb) ** 2 / ((va**2 + vb**2) / 3)
    welch = float(d.mean()) - stats.t.ppf(0.975, df) * math.sqrt(va + vb)
    assert lower_bound(a, b, paired=False) == pytest.approx(welch, rel=1e-12)
