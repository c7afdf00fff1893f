"""Vectors A-7, A-8, A-9: the gradient noise scale from micro-batches."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from equipoise.probes.gradient_noise import NoiseScale, evidence, noise_scale, norm_test, pooled, signal_to_noise


def of(grads: Tensor, rows: int = 1) -> NoiseScale:
    return noise_scale(grads.square().sum(-1), float(grads.mean(0).square().sum()), rows)


def test_four_gradients():
    grads = torch.tensor([[3.0, 0.0], [1.0, 2.0], [2.0, 1.0], [2.0, -1.0]], dtype=torch.float64)
    assert grads.mean(0).tolist() == [2.0, 0.5]
    found = of(grads)
    assert found.signal == pytest.approx(11 / 3, rel=1e-14)
    assert found.noise == pytest.approx(7 / 3, rel=1e-14)
    assert found.noise == pytest.approx(float(torch.cov(grads.T).trace()), rel=1e-14)
    assert found.scale == pytest.approx(0.636364, abs=1e-6)


def test_signal_to_noise_evidence_and_norm_test_of_the_four():
    grads = torch.tensor([[3.0, 0.0], [1.0, 2.0], [2.0, 1.0], [2.0, -1.0]], dtype=torch.float64)
    snr = signal_to_noise(list(grads))
    assert snr == pytest.approx(4.1, rel=1e-14)
    assert evidence(snr, 4) == pytest.approx(-11.3, rel=1e-14)
    assert norm_test(of(grads), float(grads.mean(0).square().sum()), 4) == pytest.approx(0.370479, abs=5e-7)
    direct = 1 - 4 * float((grads.mean(0).square() / grads.var(0)).mean())  # as Mahsereci et al. write it
    assert evidence(snr, 4) == pytest.approx(direct, rel=1e-14)
    constant = torch.tensor([7.0, 7.0, 7.0, 7.0], dtype=torch.float64)[:, None]  # without spread: left out
    assert signal_to_noise(list(torch.cat([grads, constant], 1))) == pytest.approx(snr)
    assert math.isnan(signal_to_noise(list(constant)))


def test_noise_without_signal_is_undefined():
    found = of(torch.eye(2, dtype=torch.float64))
    assert (found.signal, found.noise) == (0.0, 1.0)
    assert math.isnan(found.scale)


def test_a_population():
    """L = ½(θ − x)², x ~ N(0, 4), θ = 1: S = 4, |G|² = 1, B = 4. From 4,096 micro-batches of 64 the variance has a
    relative error of √(2/4095) and |G|² of 2·√(4/(4096·64))."""
    g = torch.Generator().manual_seed(0)
    grads = 1 - 2 * torch.randn(4096, 64, generator=g, dtype=torch.float64).mean(1, keepdim=True)
    found = of(grads, 64)
    assert abs(found.noise - 4) < 5 * 4 * math.sqrt(2 / 4095)
    assert abs(found.signal - 1) < 5 * 2 * math.sqrt(4 / (4096 * 64))
    assert abs(found.scale - 4) < 5 * 4 * math.hypot(math.sqrt(2 / 4095), 2 * math.sqrt(4 / (4096 * 64)))


def test_averages_are_taken_before_the_ratio():
    assert pooled([NoiseScale(1.0, 8.0), NoiseScale(3.0, 0.0)]).scale == 2.0  # the mean of the ratios would be 4
