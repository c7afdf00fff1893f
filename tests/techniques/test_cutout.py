"""Cutout against the loop of its source, and the area by enumeration of all centres."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from equipoise import techniques as T

from ..image_support import augmented, noise, photos


@pytest.mark.parametrize("s", [0, 1, 3, 4, 8, 14])
def test_hides_a_square_around_a_pixel(s: int):
    """DeVries and Taylor's own loop (rows y − s/2 … y + s/2, clipped), with the odd sides it would shorten."""
    x, fit = photos(40, 2, 8, 10), photos(7, 2, 8, 10)
    out = augmented(T.Cutout(s / 8), x, fit=fit).numpy()
    want = x.numpy().copy()
    for i, (a, b) in enumerate(noise().uniform((40, 2)).double().numpy()):
        y, z = int(a * 8), int(b * 10)
        y1, z1 = y - s // 2, z - s // 2
        inside = np.s_[i, :, max(y1, 0) : max(min(y1 + s, 8), 0), max(z1, 0) : max(min(z1 + s, 10), 0)]
        want[inside] = fit.mean((0, 2, 3)).numpy()[:, None, None]
    np.testing.assert_allclose(out, want, rtol=1e-14)


def test_the_hidden_area_is_that_of_all_centres():
    h, s, n = 8, 4, 8000
    x = torch.full((n, 1, h, h), 1.0, dtype=torch.float64)
    hidden = (augmented(T.Cutout(0.5), x, fit=0 * x) == 0).double().sum((1, 2, 3))
    along = np.array([min(c - s // 2 + s, h) - max(c - s // 2, 0) for c in range(h)])
    areas = np.outer(along, along)
    assert abs(float(hidden.mean()) - areas.mean()) < 6.5 * areas.std() / n**0.5
    assert set(hidden.long().tolist()) == set(areas.ravel().tolist())


def test_the_mean_of_bytes_is_that_of_the_fit_rows():
    bytes_ = (photos(6000, 2, 3, 3) // 1).to(torch.uint8)
    learned = T.Cutout().fit(bytes_, torch.zeros(6000), None)["mean0"]
    np.testing.assert_allclose(learned.squeeze().numpy(), bytes_.double().mean((0, 2, 3)).numpy(), rtol=1e-12)
    assert learned.shape == (2, 1, 1)
