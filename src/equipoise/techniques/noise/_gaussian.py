"""A Gaussian with given moments at the output of an affine map."""

from __future__ import annotations

import torch
from torch import Tensor

from ...rng import Noise


def gaussian(mean: Tensor, variance: Tensor, noise: Noise) -> Tensor:
    """mean + √variance · N(0, 1), one draw per element of ``mean``; ``variance`` ≥ 0 broadcasts over it.

    Where the variance is 0 it is the mean, bit for bit, and the gradient of the root is taken as 0 (not ∞).
    """
    positive = variance > 0
    sd = torch.where(positive, torch.where(positive, variance, 1.0).sqrt(), 0.0)
    return (mean + sd * noise.normal(tuple(mean.shape), mean.dtype)).to(mean.dtype)
