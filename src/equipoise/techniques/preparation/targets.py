from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from ...technique import Technique


class Targets(Technique):
    """Regression targets, standardized inside the run and mapped back for every prediction and metric.

    y′ = (y − μ) / σ with μ, σ (1/n) of the fit rows, per target; predictions return as σ·ŷ′ + μ. A constant target gets σ = 1.

    Shapes: y (B, T) in the user's units; predictions (…, T).
    Errors: refused for classification (class labels are mapped by the data).
    Trade: none on bias or variance; makes learning rates comparable between data sets.
    Source: deck D2 ("representation for inputs and outputs"); LeCun et al. (1998).
    """

    slot = "targets"
    tasks = ("regress",)

    def fit(self, x: Any, y: Tensor, data: Any) -> dict[str, Tensor]:
        var, mean = torch.var_mean(y.double(), 0, correction=0)
        return {"mean": mean, "std": torch.where(var > 0, var.sqrt(), 1.0)}

    def prepare_target(self, y: Tensor, fitted: Mapping[str, Tensor]) -> Tensor:
        return (y - fitted["mean"]) / fitted["std"]

    def restore(self, y: Tensor, fitted: Mapping[str, Tensor]) -> Tensor:
        return y * fitted["std"] + fitted["mean"]
