"""Colours of images in [0, 1]: grey value, blending, hue; and the way from stored units to [0, 1] and back."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from ._image import per_example

LUMA = (0.299, 0.587, 0.114)  # ITU-R BT.601


def to_unit(x: Tensor, fitted: Mapping[str, Tensor]) -> Tensor:
    """Stored units to [0, 1]; what lies outside the range of the fit rows is clipped."""
    low, high = fitted["low"], fitted["high"]
    return ((x - low) / (high - low)).clamp(0.0, 1.0)


def from_unit(v: Tensor, fitted: Mapping[str, Tensor]) -> Tensor:
    """The inverse of `to_unit` on [0, 1]."""
    low, high = fitted["low"], fitted["high"]
    return low + (high - low) * v


def grey(v: Tensor) -> Tensor:
    """(B, 1, H, W): the luma .299 R + .587 G + .114 B of three channels, else the mean of the channels."""
    if v.shape[1] != 3:
        return v.mean(1, keepdim=True)
    r, g, b = v[:, 0:1], v[:, 1:2], v[:, 2:3]
    return LUMA[0] * r + LUMA[1] * g + LUMA[2] * b


def blend(v: Tensor, other: Any, factor: Tensor) -> Tensor:
    """other + factor (B,) · (v − other), clipped to [0, 1]: factor 1 leaves v, 0 gives ``other``, above 1 moves away
    from it."""
    return (other + per_example(factor).to(v.dtype) * (v - other)).clamp(0.0, 1.0)


def turn_hue(v: Tensor, turns: Tensor) -> Tensor:
    """Red, green, blue (B, 3, H, W) with the hue of each pixel turned by ``turns`` (B,) of the colour circle.

    HSV: the value max(R, G, B) and the chroma Δ = max − min stay, h ← h + turns;
    channel n ∈ {5, 3, 1}: max − Δ · min(k, 4 − k, 1)⁺ with k = (n + 6h) mod 6.
    """
    r, g, b = v.unbind(1)
    top, bottom = v.amax(1), v.amin(1)
    chroma = top - bottom
    safe = torch.where(chroma > 0, chroma, 1.0)
    sector = torch.where(top == r, (g - b) / safe, torch.where(top == g, 2 + (b - r) / safe, 4 + (r - g) / safe))
    sector = sector + 6 * turns[:, None, None].to(v.dtype)
    channels = []
    for n in (5, 3, 1):
        k = n + sector
        k = k - 6 * torch.floor(k / 6)  # the remainder, without its slow kernel
        channels.append(top - chroma * torch.minimum(k, 4 - k).clamp(0.0, 1.0))
    return torch.stack(channels, 1)
