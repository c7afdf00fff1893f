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
    """out(p) = x(A⁻¹(p − shift)), p the pixel's position from the centre, ``shift`` (right, down) in pixels, each (B,).

    Linear between pixels; beyond the border lies ``fill``: a tensor (C, 1, 1), the number 0, or None for the nearest
    border pixel.
    """
    h, w = x.shape[-2:]
    xx, xy, yx, yy = (v.to(x.dtype) for v in inverse)
    unit = (2 / w, 2 / h)  # grid_sample counts from −1 to 1
    sx, sy = (v.to(x.dtype) for v in shift)
    across = torch.stack((xx, xy, -(xx * sx + xy * sy)), -1) * unit[0]
    down = torch.stack((yx, yy, -(yx * sx + yy * sy)), -1) * unit[1]
    # one product for all examples, a plane a coordinate: a fifth of the time of sums over (B, H, W, 2)
    grid = (torch.stack((across, down), 1) @ _positions(x)).unflatten(2, (h, w)).permute(0, 2, 3, 1)
    if fill is None:
        return F.grid_sample(x, grid, padding_mode="border", align_corners=False)
    if isinstance(fill, Tensor):
        return F.grid_sample(x - fill, grid, align_corners=False) + fill
    assert fill == 0
    return F.grid_sample(x, grid, align_corners=False)


def _positions(x: Tensor) -> Tensor:
    """(3, H·W): position of every pixel from the centre, right and down, and 1."""
    right, below = (torch.arange(n, device=x.device, dtype=x.dtype) - (n - 1) / 2 for n in (x.shape[-1], x.shape[-2]))
    right, below = right.repeat(len(below)), below.repeat_interleave(len(right))
    return torch.stack((right, below, torch.ones_like(right)))
