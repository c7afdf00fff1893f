"""RandomCrop against numpy.pad and a slice per example."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from equipoise import techniques as T
from equipoise.errors import EquipoiseError

from ..image_support import assert_uniform, augmented, noise, photos

PAD: dict[str, dict[str, Any]] = {
    "edge": {"mode": "edge"},
    "reflect": {"mode": "reflect"},
    "zero": {"mode": "constant"},
}


def offsets(n: int, s_y: int, s_x: int, seed: int = 0) -> list[tuple[int, int]]:
    u = noise(seed).uniform((n, 2)).double().numpy()
    return [(int(a * (2 * s_y + 1)) - s_y, int(b * (2 * s_x + 1)) - s_x) for a, b in u]


@pytest.mark.parametrize("fill", ["mean", "zero", "edge", "reflect"])
def test_is_a_window_of_the_padded_image(fill: str):
    x, fit = photos(12, 3, 8, 16), photos(5, 3, 8, 16) + 3
    out = augmented(T.RandomCrop(0.25, fill=fill), x, fit=fit).numpy()
    for i, (dy, dx) in enumerate(offsets(12, 2, 4)):
        for c in range(3):
            how = PAD.get(fill) or {"mode": "constant", "constant_values": float(fit[:, c].mean())}
            padded = np.pad(x[i, c].numpy(), ((2, 2), (4, 4)), **how)
            want = padded[2 + dy : 2 + dy + 8, 4 + dx : 4 + dx + 16]
            np.testing.assert_allclose(out[i, c], want, rtol=1e-14)


def test_the_offset_of_the_padding_is_the_identity():
    x = photos(400, 1, 8, 8)
    out = augmented(T.RandomCrop(0.125), x)
    middle = torch.tensor([d == (0, 0) for d in offsets(400, 1, 1)])
    assert 0 < middle.sum() < 400
    assert torch.equal(out[middle], x[middle])


def test_all_offsets_are_equally_likely():
    x = torch.arange(64.0).view(1, 1, 8, 8).expand(9000, 1, 8, 8)
    corner = augmented(T.RandomCrop(0.25, fill="edge"), x)[:, 0, 3, 3]  # away from the border: tells the offset
    counts = torch.bincount(corner.long(), minlength=64).view(8, 8)[1:6, 1:6]
    assert int(counts.sum()) == 9000
    assert_uniform(counts)


def test_reflects_over_more_than_a_side():
    x = photos(30, 1, 4, 1)
    out = augmented(T.RandomCrop(0.95, fill="reflect"), x).numpy()
    for i, (dy, dx) in enumerate(offsets(30, 4, 1)):
        padded = np.pad(x[i, 0].numpy(), ((4, 4), (1, 1)), mode="reflect")
        np.testing.assert_array_equal(out[i, 0], padded[4 + dy : 8 + dy, 1 + dx : 2 + dx])


def test_halves_round_up():
    x = torch.arange(28.0).view(1, 1, 1, 28).expand(3000, 1, 1, 28)
    shift = augmented(T.RandomCrop(0.125, fill="edge"), x)[:, 0, 0, 14] - 14
    assert shift.min() == -4 and shift.max() == 4  # 3.5 pixels of 28


def test_a_padding_below_half_a_pixel_is_refused():
    with pytest.raises(EquipoiseError, match=r"RandomCrop\(padding=0.01\).*8×8 pixels.*at least 0.0625") as e:
        augmented(T.RandomCrop(0.01), photos(2, 1, 8, 8))
    assert "\n" not in str(e.value)
