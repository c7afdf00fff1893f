from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from ...technique import Technique


class Standardize(Technique):
    """Centre and scale every feature (images: every channel) to mean 0 and standard deviation 1.

    x′ = (x − μ) / σ, with μ and σ (1/n) of the fit rows only; a constant feature gets σ = 1. Several inputs are treated
    one by one; inputs of whole numbers (tokens) pass unchanged.

    Shapes: x (B, F) per feature; (B, C, H, W) per channel over rows and positions; (B, T, F) per feature over rows and times.
    Errors: none beyond those of the data.
    Trade: changes neither bias nor variance of the model class; conditions the problem (κ of the inputs' covariance), so a
        larger learning rate converges. Costs one multiply-add per input.
    Source: LeCun, Bottou, Orr, Müller (1998), Efficient BackProp; decks D0, D1, D3.
    """

    slot = "inputs"

    def fit(self, x: Any, y: Tensor, data: Any) -> dict[str, Tensor]:
        fitted: dict[str, Tensor] = {}
        for i, v in enumerate(x if isinstance(x, tuple) else (x,)):
            if v.is_floating_point() or v.dtype == torch.uint8:
                fitted[f"mean{i}"], std = moments(v)
                fitted[f"std{i}"] = torch.where(std > 1e-12 * fitted[f"mean{i}"].abs().clamp(min=1e-300), std, 1.0)
        return fitted

    def prepare(self, x: Any, fitted: Mapping[str, Tensor]) -> Any:
        if isinstance(x, tuple):
            return tuple(self._one(v, fitted, i) for i, v in enumerate(x))
        return self._one(x, fitted, 0)

    def _one(self, v: Tensor, fitted: Mapping[str, Tensor], i: int) -> Tensor:
        return (v - fitted[f"mean{i}"]) / fitted[f"std{i}"] if f"mean{i}" in fitted else v


def moments(v: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation (1/n), float64, in the shape that broadcasts over one example: images per channel."""
    v = v.double()
    dims = [0, 2, 3] if v.dim() == 4 else list(range(v.dim() - 1)) or [0]
    keep = v.dim() == 4
    var, mean = torch.var_mean(v, dims, correction=0, keepdim=keep)
    return (mean[0], var[0].sqrt()) if keep else (mean, var.sqrt())
