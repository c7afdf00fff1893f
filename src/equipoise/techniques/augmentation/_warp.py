"""Bilinear resampling of images under an affine map about their centre."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor


class Inverse(NamedTuple):
    """The inverse A⁻¹ of an affine map A per example: source x = xx·x + xy·y, y = yx·x + yy·y; entries (B,), y points
    down."""

    xx: Tensor
    xy: Tensor
    yx: Tensor
    yy: Tensor


def inverse_of(angle: Tensor, slope: Tensor, factor: Tensor) -> Inverse:
    """(k R(θ) S)⁻¹ = S⁻¹ R(−θ) / k: ``angle`` θ in radians (positive: clockwise), S: x ← x + slope · y, factor k."""
    cos, sin = torch.cos(angle), torch.sin(angle)
    return Inverse((cos + slope * sin) / factor, (sin - slope * cos) / factor, -sin / factor, cos / factor)


def warp(x: Tensor, inverse: Inverse, shift: tuple[Tensor, Tensor], fill: Any) -> Tensor:
    """out(p) = x(A⁻¹(p − shift)), p the pixel's position from the image's centre, ``shift`` (right, down) in pixels,
    (B,).

    Linear between pixels; beyond the border lies ``fill`` (a value, or (C, 1, 1)), or the nearest border pixel for
    None.
    """
    h, w = x.shape[-2:]
    along, down = (
        (torch.arange(n, device=x.device, dtype=x.dtype) - (n - 1) / 2).view(view) - s[:, None, None].to(x.dtype)
        for n, view, s in ((w, (1, 1, w), shift[0]), (h, (1, h, 1), shift[1]))
    )
    xx, xy, yx, yy = (v[:, None, None].to(x.dtype) for v in inverse)
    grid = torch.stack(((xx * along + xy * down) * (2 / w), (yx * along + yy * down) * (2 / h)), -1)
    if fill is None:
        return F.grid_sample(x, grid, padding_mode="border", align_corners=False)
    return F.grid_sample(x - fill, grid, align_corners=False) + fill
