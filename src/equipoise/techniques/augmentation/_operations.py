"""The operations of the AutoAugment family on images (B, C, H, W) in [0, 1], every example with its own strength."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor

from ._color import blend, grey
from ._image import per_example
from ._warp import Inverse, warp

OPERATIONS = (
    "identity", "shear_x", "shear_y", "translate_x", "translate_y", "rotate",
    "brightness", "color", "contrast", "sharpness", "posterize", "solarize", "auto_contrast", "equalize",
)  # fmt: skip
SLOPE, TURN, FACTOR, BITS = 0.99, math.radians(135), 0.99, 6  # the wide space at full strength


def moved(v: Tensor, is_: Mapping[str, Tensor], m: Tensor, fill: Tensor) -> Tensor:
    """Sheared, translated or rotated by the share ``m`` (B,) in [−1, 1] of the full strength; the others unmoved."""
    at = lambda name: torch.where(is_[name], m, 0.0)  # noqa: E731
    angle = at("rotate") * TURN
    cos, sin = torch.cos(angle), torch.sin(angle)
    inverse = Inverse(cos, sin - at("shear_x") * SLOPE, -sin - at("shear_y") * SLOPE, cos)
    return warp(v, inverse, (at("translate_x") * v.shape[3], at("translate_y") * v.shape[2]), fill)


def blended(v: Tensor, is_: Mapping[str, Tensor], m: Tensor) -> Tensor:
    """Away from (m > 0) or towards (m < 0) black, the grey image, its mean grey, or the smoothed image."""
    g = grey(v)
    flat = torch.where(per_example(is_["contrast"]), g.mean((2, 3), keepdim=True), 0.0)
    flat = torch.where(per_example(is_["color"]), g, flat)
    other = torch.where(per_example(is_["sharpness"]), smooth(v), flat)
    return blend(v, other, 1 + FACTOR * m)


def smooth(v: Tensor) -> Tensor:
    """The 3 × 3 mean with weight 5 in the middle and 1 around it; the border stays."""
    if min(v.shape[-2:]) < 3:
        return v
    rows = v[..., :-2, :] + v[..., 1:-1, :] + v[..., 2:, :]
    sums = rows[..., :-2] + rows[..., 1:-1] + rows[..., 2:]
    middle = v[..., 1:-1, 1:-1]
    return v + F.pad((sums + 4 * middle) / 13 - middle, (1, 1, 1, 1))


def posterize(v: Tensor, m: Tensor) -> Tensor:
    """The highest 8 − round(6m) of 8 bits."""
    step = per_example(torch.exp2(torch.round(BITS * m)).to(v.dtype))
    return torch.floor(torch.round(255 * v) / step) * (step / 255)


def solarize(v: Tensor, m: Tensor) -> Tensor:
    """Values from the threshold 1 − m on, compared in 256 steps, are inverted."""
    threshold = per_example(255 * (1 - m)) - 1e-3  # thresholds are multiples of 8.5: rounding must not decide
    return torch.where(torch.round(255 * v) >= threshold, 1 - v, v)


def auto_contrast(v: Tensor) -> Tensor:
    """Each channel stretched to the whole range [0, 1]; a constant channel stays."""
    low, high = v.amin((2, 3), keepdim=True), v.amax((2, 3), keepdim=True)
    spread = torch.where(high > low, high - low, 1.0)
    return torch.where(high > low, (v - low) / spread, v)


def equalize(v: Tensor) -> Tensor:
    """Each channel with a histogram of 256 steps as flat as a map of the steps can make it, in the integers of PIL's
    rule: with h the counts, Σ h their cumulated sum before step i and s = (n − h_last)/255, i ↦ (s/2 + Σ h)/s,
    divisions rounded down."""
    b, c, height, width = v.shape
    w = torch.round(255 * v).long().flatten(2)
    counts = torch.zeros(b, c, 256, dtype=v.dtype, device=v.device).scatter_add(2, w, torch.ones_like(v).flatten(2))
    last = counts.gather(2, w.amax(2, keepdim=True))
    s = torch.floor((height * width - last) / 255)
    table = torch.floor((torch.floor(s / 2) + counts.cumsum(2) - counts) / s.clamp(min=1)).clamp(0, 255) / 255
    flat = table.gather(2, w).view_as(v)
    return torch.where(s[..., None] > 0, flat, v)
