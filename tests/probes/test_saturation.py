"""Vectors A-4 and A-16: derivatives far out, and what counts as saturated."""

from __future__ import annotations

import pytest
import torch

from equipoise.probes.saturation import relative_slope, saturated


@pytest.mark.parametrize(
    ("z", "activation", "expected"),
    [
        (9.4999, "tanh", 2.24e-8),
        (5.0, "tanh", 1.816e-4),
        (-23.0, "sigmoid", 1.026e-10),
        (16.99999, "sigmoid", 4.140e-8),
        (5.0, "sigmoid", 6.648e-3),
    ],
)
def test_derivatives(z: float, activation: str, expected: float):
    at = torch.tensor(z, dtype=torch.float64, requires_grad=True)
    a = getattr(torch, activation)(at)
    largest = 1.0 if activation == "tanh" else 0.25
    found = float(relative_slope(a.detach(), activation)) * largest
    assert found == pytest.approx(expected, rel=1e-3)
    (slope,) = torch.autograd.grad(a, at)
    assert found == pytest.approx(float(slope), rel=1e-6)


def test_one_of_four_is_saturated():
    a = torch.tanh(torch.tensor([0.0, 1.0, 2.0, 3.0]))
    assert a.tolist() == pytest.approx([0, 0.7616, 0.9640, 0.9951], abs=5e-5)
    assert float(saturated(a, "tanh").double().mean()) == 0.25


def test_the_bounds_are_those_of_the_methods():
    tanh = torch.tensor([0.9746, 0.9748, -0.9746, -0.9748])
    assert saturated(tanh, "tanh").tolist() == [False, True, False, True]
    sigmoid = torch.tensor([0.01265, 0.01267, 0.98733, 0.98735])
    assert saturated(sigmoid, "sigmoid").tolist() == [True, False, False, True]
