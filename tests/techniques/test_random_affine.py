"""RandomAffine against scipy.ndimage.affine_transform, one example at a time, with the draws recomputed."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from scipy.ndimage import affine_transform

from equipoise import techniques as T
from equipoise.techniques.augmentation._warp import inverse_of, warp

from ..image_support import augmented, noise, photos

SCIPY: dict[str, dict[str, Any]] = {"edge": {"mode": "nearest"}, "zero": {"mode": "grid-constant"}}
STRONG = {"rotate": 40.0, "translate": 0.2, "scale": 0.3, "shear": 25.0}
ONE_AT_A_TIME = [{k: v if k == name else 0.0 for k, v in STRONG.items()} for name in STRONG]


def forward_map(u: np.ndarray, t: Any) -> np.ndarray:
    """k R(θ) S(φ) on (x, y), written out from the docstring."""
    theta, phi = np.radians(u[0] * t.rotate), np.radians(u[3] * t.shear)
    rotation = np.array([[np.cos(theta), -np.sin(theta)], [np.sin(theta), np.cos(theta)]])
    return (1 + t.scale) ** u[4] * rotation @ np.array([[1, np.tan(phi)], [0, 1]])


def by_scipy(x: np.ndarray, u: np.ndarray, t: Any, fill: float) -> np.ndarray:
    h, w = x.shape
    exchange = np.array([[0, 1], [1, 0]])  # SciPy counts (row, column)
    inverse = exchange @ np.linalg.inv(forward_map(u, t)) @ exchange
    centre, shift = np.array([(h - 1) / 2, (w - 1) / 2]), np.array([u[2] * t.translate * h, u[1] * t.translate * w])
    how = SCIPY.get(t.fill) or {"mode": "grid-constant", "cval": fill}
    return affine_transform(x, inverse, offset=centre - inverse @ (centre + shift), order=1, **how)


@pytest.mark.parametrize("fill", ["edge", "mean", "zero"])
@pytest.mark.parametrize("knobs", [{}, STRONG, *ONE_AT_A_TIME])
def test_resamples_as_scipy(knobs: dict[str, float], fill: str):
    t = T.RandomAffine(**knobs, fill=fill)
    x, fit = photos(8, 2, 9, 12), photos(5, 2, 9, 12) + 9
    out = augmented(t, x, fit=fit).numpy()
    us = 2 * noise().uniform((8, 5)).double().numpy() - 1
    for i, u in enumerate(us):
        for c in range(2):
            want = by_scipy(x[i, c].numpy(), u, t, float(fit[:, c].mean()))
            np.testing.assert_allclose(out[i, c], want, rtol=0, atol=1e-9)


def test_off_is_bit_identical_and_float32_close():
    x = photos(20, 3, 11, 6, torch.float32)
    assert torch.equal(augmented(T.RandomAffine(0, 0, 0, 0, fill="mean"), x, fit=x + 0.1), x)
    single, double = augmented(T.RandomAffine(**STRONG), x), augmented(T.RandomAffine(**STRONG), x.double())
    assert single.dtype == torch.float32
    torch.testing.assert_close(single.double(), double, rtol=0, atol=2e-2)  # 255 · 1e-5 pixels of coordinate error


@pytest.mark.parametrize("turns", [1, 2, 3])
def test_a_quarter_turn_is_exact_and_clockwise(turns: int):
    x, one = photos(3, 2, 7, 7), torch.ones(3, dtype=torch.float64)
    out = warp(x, inverse_of(turns * torch.pi / 2 * one, 0 * one, one), (0 * one, 0 * one), None)
    np.testing.assert_allclose(out.numpy(), np.rot90(x.numpy(), -turns, (2, 3)), atol=1e-9)


def test_whole_pixels_are_a_shift_right_and_down():
    x, one = photos(3, 2, 6, 8), torch.ones(3, dtype=torch.float64)
    out = warp(x, inverse_of(0 * one, 0 * one, one), (2 * one, one), 0.0)
    np.testing.assert_allclose(out[:, :, 1:, 2:].numpy(), x[:, :, :-1, :-2].numpy(), atol=1e-9)
    assert out[:, :, 0].abs().max() < 1e-9 and out[:, :, :, :2].abs().max() < 1e-9


def test_a_larger_factor_enlarges():
    one = torch.ones(1, dtype=torch.float64)
    x = torch.zeros(1, 1, 9, 9, dtype=torch.float64)
    x[:, :, 3:6, 3:6] = 1.0
    area = warp(x, inverse_of(0 * one, 0 * one, 2 * one), (0 * one, 0 * one), 0.0).sum()
    assert float(area) == pytest.approx(4 * 9, rel=0.15)


def test_draws_cover_their_ranges_evenly():
    """Shifts of a ramp image tell t_x and t_y: uniform by a Kolmogorov–Smirnov test."""
    from scipy.stats import kstest

    ramp = torch.arange(32, dtype=torch.float64)
    x = torch.stack([ramp.expand(32, 32), ramp[:, None].expand(32, 32)]).expand(2000, 2, 32, 32)
    out = augmented(T.RandomAffine(0.0, 0.125), x)[:, :, 16, 16]
    for shift in (16 - out).T.numpy():
        assert np.abs(shift).max() <= 4
        assert kstest(shift, "uniform", (-4, 8)).pvalue > 1e-6
