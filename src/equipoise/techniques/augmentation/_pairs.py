"""What MixUp and CutMix share: λ ~ Beta(a, a) drawn on the host, and mixing each row with the row before it."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

PER = ("batch", "pair")


def draws(per: str) -> str:
    """Which uniforms the engine hands to `beta`: one a step, or one a row."""
    return "step" if per == "batch" else "row"


def beta(a: float, u: Any) -> Any:
    """λ ~ Beta(a, a) from uniforms by the inverse distribution function; a = 0 is read as λ = 1 (off)."""
    if a == 0:
        return np.ones_like(u)
    from scipy.special import betaincinv

    return betaincinv(a, a, u)


def spread(share: Tensor, like: Tensor) -> Tensor:
    """A share () or (B,) in the shape that broadcasts over rows (B, …)."""
    return share.view(-1, *([1] * (like.dim() - 1))) if share.dim() else share


def mixed(v: Tensor, share: Tensor) -> Tensor:
    """share · v_i + (1 − share) · v_{i−1}, the first row with the last; exactly v where the share is 1."""
    s = spread(share, v).to(v.dtype)
    return torch.where(s == 1, v, torch.lerp(v.roll(1, 0), v, s))
