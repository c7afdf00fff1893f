"""TrivialAugment's operations against Pillow and SciPy, and the uniform draw of operation and strength."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image, ImageEnhance, ImageOps
from scipy.ndimage import affine_transform

from equipoise import techniques as T
from equipoise.techniques.augmentation import _operations as ops

from ..image_support import assert_share, assert_uniform, augmented, noise, photos

LEVELS = torch.arange(31) / 30


def pictures(n: int) -> torch.Tensor:
    """Bytes (n, 3, 9, 11), some with few values, one channel constant, as Pillow's corner cases want."""
    x = photos(n, 3, 9, 11).round()
    x[1] = (x[1] // 64) * 64
    x[2, 0] = 77.0
    x[3] = 100 + x[3] // 16
    return x


def pillow(x: torch.Tensor, change: Callable[[Image.Image, int], Image.Image]) -> np.ndarray:
    out = []
    for i, v in enumerate(x):
        image = Image.fromarray(np.ascontiguousarray(np.moveaxis(v.numpy().astype(np.uint8), 0, -1)))
        out.append(np.moveaxis(np.asarray(change(image, i)), -1, 0))
    return np.stack(out).astype(float)


# --- one operation at a time ------------------------------------------------------------------------------------------
def test_equalize_is_pillows():
    x = torch.cat([pictures(6), pictures(6).repeat(1, 1, 40, 30)[..., :9, :11]])
    big = (photos(4, 3, 90, 110) ** 2 / 255).round()  # enough pixels a step for the table to move
    for v in (x, big):
        got = (255 * ops.equalize(v / 255)).numpy()
        np.testing.assert_allclose(got, pillow(v, lambda im, _: ImageOps.equalize(im)), atol=1e-9)
    assert (ops.equalize(big / 255) - big / 255).abs().max() > 0.1


def test_posterize_is_pillows():
    x, bits = pictures(31), [8 - int(np.round(6 * m)) for m in LEVELS.double().numpy()]
    got = (255 * ops.posterize(x / 255, LEVELS.double())).numpy()
    np.testing.assert_allclose(got, pillow(x, lambda im, i: ImageOps.posterize(im, bits[i])), atol=1e-9)
    assert {8, 2} <= set(bits)


def test_solarize_is_pillows():
    x = pictures(31)
    got = (255 * ops.solarize(x / 255, LEVELS.double())).numpy()
    want = pillow(x, lambda im, i: ImageOps.solarize(im, threshold=255 - 8.5 * i))  # type: ignore[arg-type]
    np.testing.assert_allclose(got, want, atol=1e-9)


def test_auto_contrast_is_pillows():
    x = pictures(6)
    got = (255 * ops.auto_contrast(x / 255)).numpy()
    assert np.abs(got - pillow(x, lambda im, _: ImageOps.autocontrast(im))).max() <= 1.0  # Pillow rounds down


@pytest.mark.parametrize(
    ("name", "enhance"),
    [
        ("brightness", ImageEnhance.Brightness),
        ("color", ImageEnhance.Color),
        ("contrast", ImageEnhance.Contrast),
        ("sharpness", ImageEnhance.Sharpness),
    ],
)
def test_blends_are_pillows(name: str, enhance: Any):
    x, m = pictures(21), torch.linspace(-1, 1, 21, dtype=torch.float64)
    chosen = {o: torch.full((21,), o == name) for o in ops.OPERATIONS}
    got = (255 * ops.blended(x / 255, chosen, m)).numpy()
    want = pillow(x, lambda im, i: enhance(im).enhance(1 + 0.99 * float(m[i])))
    assert np.abs(got - want).max() <= 2.0  # Pillow rounds the degenerate image and the result
    assert np.abs(got[[0, -1]] - x[[0, -1]].numpy()).max() > 10


@pytest.mark.parametrize("name", ["shear_x", "shear_y", "translate_x", "translate_y", "rotate", "brightness"])
def test_motions_are_scipys(name: str):
    x, m = photos(5, 1, 9, 12), torch.tensor([-1.0, -0.4, 0.0, 0.3, 1.0], dtype=torch.float64)
    chosen = {o: torch.full((5,), o == name) for o in ops.OPERATIONS}
    got = ops.moved(x, chosen, m, torch.tensor(40.0).double()).numpy()
    for i, s in enumerate(m.tolist()):
        a, d = 0.99 * s, np.radians(135 * s)
        maps = {
            "shear_x": [[1, a], [0, 1]],
            "shear_y": [[1, 0], [a, 1]],
            "rotate": [[np.cos(d), -np.sin(d)], [np.sin(d), np.cos(d)]],
        }
        inverse = np.linalg.inv(np.array(maps.get(name, np.eye(2))))[::-1, ::-1]  # (x, y) to (row, column)
        shift = np.array({"translate_y": [9 * s, 0], "translate_x": [0, 12 * s]}.get(name, [0, 0]))
        centre = np.array([4.0, 5.5])
        want = affine_transform(
            x[i, 0].numpy(), inverse, centre - inverse @ (centre + shift), order=1, mode="grid-constant", cval=40.0
        )
        np.testing.assert_allclose(got[i, 0], want, atol=1e-9)


# --- the draw ---------------------------------------------------------------------------------------------------------
def draws(n: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    u = noise().uniform((n, 4)).double().numpy()
    return (14 * u[:, 0]).astype(int), (31 * u[:, 1]).astype(int) / 30, np.where(u[:, 2] < 0.5, 1, -1)


def test_each_image_gets_its_operation_at_its_strength():
    x = pictures(150)
    out = augmented(T.TrivialAugment(), x.float(), fit=x.to(torch.uint8)).double()
    names, sizes, signs = draws(150)
    v, mean = x / 255, (x.to(torch.uint8).double().mean((0, 2, 3)) / 255)[:, None, None]
    seen = set()
    for i, (o, size, sign) in enumerate(zip(names, sizes, signs, strict=True)):
        one, m = v[i : i + 1], torch.tensor([size], dtype=torch.float64)
        is_ = {name: torch.tensor([k == o]) for k, name in enumerate(ops.OPERATIONS)}
        want = {
            0: lambda v, m: v, 10: ops.posterize, 11: ops.solarize,
            12: lambda v, m: ops.auto_contrast(v), 13: lambda v, m: ops.equalize(v),
        }.get(int(o))  # fmt: skip
        if want is None:
            m = m * int(sign)
            want = (
                (lambda v, m, is_=is_: ops.moved(v, is_, m, mean))
                if o < 6
                else (lambda v, m, is_=is_: ops.blended(v, is_, m))
            )
        difference = (out[i] - 255 * want(one, m)[0]).abs()
        assert difference.max() < 0.02, (ops.OPERATIONS[o], size)
        seen.add(int(o))
    assert seen == set(range(14))


def test_the_identity_and_the_share_left_out_are_bit_identical():
    x = photos(3000, 1, 3, 4, torch.float32)
    out = augmented(T.TrivialAugment(0.4), x)
    names, _, _ = draws(3000)
    left = torch.tensor(noise().uniform((3000, 4)).numpy()[:, 3] >= 0.4)
    same = (out == x).flatten(1).all(1)
    assert same[left].all() and same[torch.tensor(names == 0)].all()
    assert_share(~left, 0.4)
    assert torch.equal(augmented(T.TrivialAugment(0.0), x), x)


def test_operations_strengths_and_signs_are_uniform():
    names, sizes, signs = draws(20000)
    assert_uniform(np.bincount(names, minlength=14))
    assert_uniform(np.bincount(np.round(30 * sizes).astype(int), minlength=31))
    assert_uniform([(signs > 0).sum(), (signs < 0).sum()])


@pytest.mark.parametrize("shape", [(1, 1), (2, 5), (1, 7)])
def test_tiny_images_survive(shape: tuple[int, int]):
    x = photos(60, 2, *shape)
    assert augmented(T.TrivialAugment(), x).isfinite().all()
