"""Vector A-19: the relative gap; its bounds against closed forms."""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from scipy import stats

from equipoise.probes._held_out import lower_bound
from equipoise.probes.generalization_gap import GeneralizationGap, gap


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


def found(fit: torch.Tensor, *stop: torch.Tensor) -> bool:
    trace: Any = SimpleNamespace(fit=fit, stop=stop, baseline=2.0, failed="")
    probe = GeneralizationGap()
    return bool(probe.judge(probe.measure(trace), trace))


@pytest.mark.parametrize(("by", "finds"), [(0.12, False), (0.13, True)])
def test_a_rise_counts_from_a_twentieth_of_the_loss_it_rose_from(by: float, finds: bool):
    """Rows rise by .9 and 1.1 of ``by`` from a mean of 2: the bound is by(1 − t·.0577)/2, a twentieth at by = .1225."""
    before, step = torch.tensor([1.0, 2.0, 2.0, 3.0]), by * torch.tensor([0.9, 1.1, 0.9, 1.1])
    fit = torch.tensor([0.0, 0.1, 0.0, 0.1])
    assert 0.05 * 2 / (1 - stats.t.ppf(0.975, 3) * 0.1 / math.sqrt(3)) == pytest.approx(0.1225, abs=1e-4)
    assert found(fit, *(before + k / 3 * step for k in range(4))) == finds
    assert not found(fit, *(before + k / 3 * step for k in (0, 2, 1, 3)))  # not in turn


def test_fit_rows_that_do_worse_are_left_to_wrong_targets():
    stop = torch.tensor([0.0, 0.1, 0.0, 0.1])
    assert not found(stop + 5, *[stop] * 4)
