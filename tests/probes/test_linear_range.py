"""The line of a sigmoid: .984 of its variance on N(0, 1), .84 at four times that, by quadrature and as decks say."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from equipoise.probes.linear_range import linearity


@pytest.mark.parametrize(("scale", "stated"), [(1.0, 0.984), (4.0, 0.84)])
def test_a_sigmoid_of_normal_inputs(scale: float, stated: float):
    nodes, weights = np.polynomial.hermite_e.hermegauss(120)
    weights, z = weights / weights.sum(), scale * nodes
    a = 1 / (1 + np.exp(-z))
    cov = (weights * z * (a - 0.5)).sum()
    exact = cov**2 / ((weights * z**2).sum() * (weights * (a - 0.5) ** 2).sum())
    assert exact == pytest.approx(stated, abs=0.005)
    # normal quantiles in equal steps: a sample of 200,001 without chance
    q = torch.special.ndtri((torch.arange(200_001, dtype=torch.float64) + 0.5) / 200_001)
    assert linearity(torch.sigmoid(scale * q), "sigmoid") == pytest.approx(exact, abs=1e-4)


def test_small_signals_are_a_line_and_constants_have_none():
    z = torch.linspace(-1, 1, 101, dtype=torch.float64)
    assert linearity(torch.tanh(1e-3 * z), "tanh") > 1 - 1e-9
    assert linearity(torch.tanh(3 * z), "tanh") < 0.99
    assert math.isnan(linearity(torch.zeros(5), "tanh"))
    assert math.isfinite(linearity(torch.tensor([-1.0, 1.0, 1.0]), "tanh"))  # saturated ends have a finite inverse
