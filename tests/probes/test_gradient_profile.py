"""The size of gradients by depth."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
import torch

from equipoise.probes.gradient_profile import rms


def test_rms():
    assert rms(torch.tensor([[3.0, 4.0], [0.0, 0.0]])) == pytest.approx(2.5)


def test_sigmoids_shrink_gradients_by_a_quarter_a_layer():
    """One unit a layer with z = 0 everywhere: σ′ = ¼, so ∂L/∂b_k is (w/4) times that of the layer behind it."""
    m, w = 6, 0.8
    biases = [torch.tensor(0.0, dtype=torch.float64, requires_grad=True) for _ in range(m)]
    a = torch.tensor(0.5, dtype=torch.float64)
    for b in biases:
        a = torch.sigmoid(w * (a - 0.5) + b)
    found = [rms(g) for g in torch.autograd.grad(a, biases)]
    assert found[0] / found[-1] == pytest.approx((w / 4) ** (m - 1), rel=1e-12)
    assert all(math.isclose(x / y, w / 4, rel_tol=1e-12) for x, y in pairwise(found))
