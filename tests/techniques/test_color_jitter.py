"""ColorJitter against colorsys pixel by pixel, Pillow's enhancers, and the ranges of its factors."""

from __future__ import annotations

import colorsys

import numpy as np
import pytest
import torch
from PIL import Image, ImageEnhance

from equipoise import techniques as T
from equipoise.techniques.augmentation._color import turn_hue
from equipoise.techniques.augmentation._image import value_range

from ..image_support import augmented, noise, photos

OFF = {"brightness": 0.0, "contrast": 0.0, "saturation": 0.0, "hue": 0.0}


def draws(n: int) -> np.ndarray:
    return 2 * noise().uniform((n, 4)).double().numpy() - 1


def colours() -> torch.Tensor:
    """Random colours, and the corners: grey, black, white, ties of channels."""
    corners = torch.tensor(
        [(r, g, b) for r in (0, 0.5, 1) for g in (0, 0.5, 1) for b in (0, 0.5, 1)], dtype=torch.float64
    )
    v = torch.cat([corners, torch.rand(73, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)])
    return v.T.reshape(1, 3, 10, 10)


@pytest.mark.parametrize("turns", [0.0, 0.1, 0.25, -0.4, 0.5, 1.0])
def test_hue_turns_as_colorsys(turns: float):
    v = colours()
    out = turn_hue(v, torch.tensor([turns], dtype=torch.float64)).flatten(2)[0].T.numpy()
    for rgb, got in zip(v.flatten(2)[0].T.tolist(), out, strict=True):
        h, s, value = colorsys.rgb_to_hsv(*rgb)
        np.testing.assert_allclose(got, colorsys.hsv_to_rgb((h + turns) % 1.0, s, value), atol=1e-12)


def test_hue_there_and_back_is_the_identity():
    v, turns = colours().expand(9, 3, 10, 10), torch.linspace(-0.5, 0.5, 9, dtype=torch.float64)
    torch.testing.assert_close(turn_hue(turn_hue(v, turns), -turns), v, rtol=0, atol=1e-12)


@pytest.mark.parametrize(
    ("name", "column", "enhance"),
    [
        ("brightness", 0, ImageEnhance.Brightness),
        ("contrast", 1, ImageEnhance.Contrast),
        ("saturation", 2, ImageEnhance.Color),
    ],
)
@pytest.mark.parametrize("strength", [0.3, 0.9])
def test_each_strength_as_pillow(name: str, column: int, enhance: type, strength: float):
    """Bytes; Pillow rounds the grey value and the result to whole steps: at most 1.5 apart for factors below 2."""
    x = photos(12, 3, 9, 7).round().to(torch.uint8)
    out = augmented(T.ColorJitter(**OFF | {name: strength}), x.double(), fit=x).numpy()
    for i, u in enumerate(draws(12)[:, column]):
        image = Image.fromarray(np.ascontiguousarray(np.moveaxis(x[i].numpy(), 0, -1)))
        want = np.moveaxis(np.asarray(enhance(image).enhance(1 + u * strength)), -1, 0)
        assert np.abs(out[i] - want).max() <= 1.5


def test_the_hue_is_drawn_within_its_range():
    x = photos(12) / 255
    out = augmented(T.ColorJitter(**OFF | {"hue": 0.5}), x, fit=torch.tensor([0.0, 1.0]).expand(3, 3, 1, 2).double())
    want = turn_hue(x, torch.tensor(0.5 * draws(12)[:, 3]))
    torch.testing.assert_close(out, want, rtol=0, atol=1e-12)


def test_the_order_is_brightness_contrast_saturation_hue():
    x = photos(1, 3, 5, 5)
    t = T.ColorJitter(0.5, 0.5, 0.5, 0.3)
    out = augmented(t, x, fit=torch.tensor([0.0, 255.0]).expand(2, 3, 1, 2).double())[0] / 255
    u, v = draws(1)[0], (x[0] / 255).numpy()
    luma = lambda v: (np.array([0.299, 0.587, 0.114])[:, None, None] * v).sum(0)  # noqa: E731
    v = np.clip(v * (1 + u[0] / 2), 0, 1)
    v = np.clip(luma(v).mean() + (1 + u[1] / 2) * (v - luma(v).mean()), 0, 1)
    v = np.clip(luma(v) + (1 + u[2] / 2) * (v - luma(v)), 0, 1)
    want = turn_hue(torch.tensor(v)[None], torch.tensor([u[3] * 0.3]))[0]
    torch.testing.assert_close(out, want, rtol=0, atol=1e-12)


def test_factors_never_turn_colours_over():
    """A strength above 1 draws from [0, 1 + strength]: brightness of a white image is never below black."""
    x = torch.full((4000, 1, 1, 1), 0.25, dtype=torch.float64)
    out = augmented(
        T.ColorJitter(**OFF | {"brightness": 1.5}), x, fit=torch.tensor([0.0, 1.0]).view(2, 1, 1, 1).double()
    )
    factors = out.flatten() / 0.25
    assert 0 <= float(factors.min()) < 0.01 and 2.49 < float(factors.max()) <= 2.5
    assert abs(float(factors.mean()) - 1.25) < 6.5 * 2.5 / (12 * 4000) ** 0.5


def test_the_range_is_the_format_or_that_of_the_fit_rows():
    read = lambda v: [float(value_range(v)[k]) for k in ("low", "high")]  # noqa: E731
    assert read(torch.tensor([[[[3, 9]]]], dtype=torch.uint8)) == [0.0, 255.0]
    assert read(torch.tensor([[[[-3.0, 9.0]]]])) == [-3.0, 9.0]
    assert read(torch.full((2, 1, 2, 2), 4.0)) == [4.0, 5.0]


def test_grey_images_keep_one_channel_and_their_hue():
    x = photos(5, 1)
    t = T.ColorJitter(**OFF | {"saturation": 0.9, "hue": 0.5})
    torch.testing.assert_close(augmented(t, x), x, rtol=0, atol=1e-10)
