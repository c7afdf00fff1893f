"""Grayscale against Pillow's conversion to luma."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from equipoise import techniques as T
from equipoise.errors import EquipoiseError

from ..image_support import assert_share, augmented, photos


def test_all_channels_become_the_luma():
    x = photos(5).round()
    out = augmented(T.Grayscale(1.0), x).numpy()
    for i in range(5):
        image = Image.fromarray(np.ascontiguousarray(np.moveaxis(x[i].numpy().astype(np.uint8), 0, -1)))
        assert np.abs(out[i] - np.asarray(image.convert("L"))).max() <= 0.51  # Pillow rounds
    assert (out[:, 0] == out[:, 1]).all() and (out[:, 0] == out[:, 2]).all()


def test_other_channels_become_their_mean():
    x = photos(3, 2)
    torch.testing.assert_close(augmented(T.Grayscale(1.0), x), x.mean(1, keepdim=True).expand_as(x), rtol=1e-14, atol=0)


@pytest.mark.parametrize("p", [0.2, 0.6])
def test_a_share_p_is_changed_and_the_rest_untouched(p: float):
    x = photos(4000, 3, 1, 2)
    out = augmented(T.Grayscale(p), x)
    changed = (out[:, 0] == out[:, 1]).flatten(1).all(1)
    assert torch.equal(out[~changed], x[~changed])
    assert_share(changed, p)


def test_one_channel_is_refused():
    with pytest.raises(EquipoiseError, match=r"Grayscale\(\) takes colours out; these images have one channel"):
        augmented(T.Grayscale(), photos(2, 1))
