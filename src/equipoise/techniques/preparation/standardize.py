from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from ...technique import Technique
from ._numbers import each, is_number, moments


class Standardize(Technique):
    """Centre and scale every feature (images: every channel) to mean 0 and standard deviation 1.

    x′ = (x − μ) / σ, with μ and σ (1/n) of the fit rows only; a constant feature gets σ = 1. Several inputs are treated
    one by one; inputs of whole numbers (tokens) pass unchanged, bytes of images are numbers.

    Shapes: x (B, F) per feature; (B, C, H, W) per channel over rows and positions; (B, T, F) per feature over rows and
        times.
    Errors: none beyond those of the data.
    Trade: changes neither bias nor variance of the model class; conditions the problem (κ of the inputs' covariance),
        so a larger learning rate converges. Costs one multiply-add per input.
    Source: LeCun, Bottou, Orr, Müller (1998), Efficient BackProp; decks D0, D1, D3.
    """

    slot = "inputs"

    def fit(self, x: Any, y: Tensor, data: Any) -> dict[str, Tensor]:
        fitted: dict[str, Tensor] = {}
        for i, v in enumerate(x if isinstance(x, tuple) else (x,)):
            if is_number(v):
                μ, σ = moments(v)
                fitted[f"mean{i}"] = μ
                fitted[f"std{i}"] = torch.where(σ > 1e-12 * μ.abs(), σ, 1.0)  # equal numbers have σ of rounding size
        return fitted

    def prepare(self, x: Any, fitted: Mapping[str, Tensor]) -> Any:
        return each(x, lambda i, v: (v - fitted[f"mean{i}"]) / fitted[f"std{i}"])
