"""Linear CKA: 1 for a scaled rotation, 0 for what is uncorrelated, and its definition by Gram matrices."""

from __future__ import annotations

import math

import pytest
import torch

from equipoise.probes.cloned_layers import alignment


def test_a_rotation_is_a_copy_and_a_bent_one_is_not():
    g = torch.Generator().manual_seed(0)
    x = torch.randn(60, 5, generator=g, dtype=torch.float64)
    q, _ = torch.linalg.qr(torch.randn(5, 5, generator=g, dtype=torch.float64))
    assert alignment(x, 3 * x @ q + 7) == pytest.approx(1.0, abs=1e-12)
    assert alignment(x, torch.relu(x @ q)) < 0.99


def test_uncorrelated_is_nothing_and_constants_are_undefined():
    u, v = torch.tensor([1.0, -1.0, 1.0, -1.0])[:, None], torch.tensor([1.0, 1.0, -1.0, -1.0])[:, None]
    assert alignment(u, v) == 0.0
    assert math.isnan(alignment(u, torch.ones(4, 2)))


def test_it_is_the_alignment_of_centred_gram_matrices():
    """CKA = ⟨K, L⟩/(‖K‖ ‖L‖) for K = HXXᵀH, L = HAAᵀH (Kornblith et al. 2019)."""
    g = torch.Generator().manual_seed(1)
    x, a = torch.randn(20, 4, generator=g, dtype=torch.float64), torch.randn(20, 6, generator=g, dtype=torch.float64)
    h = torch.eye(20, dtype=torch.float64) - 1 / 20
    k, m = h @ x @ x.T @ h, h @ a @ a.T @ h
    assert alignment(x, a) == pytest.approx(float((k * m).sum() / (k.norm() * m.norm())), rel=1e-12)
