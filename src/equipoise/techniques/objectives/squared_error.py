from __future__ import annotations

import torch
from torch import Tensor

from ...technique import At, Batch, Technique, option


class SquaredError(Technique):
    """Mean squared error, for regression and, to compare the surfaces, for classification.

    L = Σ_i w_i Σ_k (f_ik − y_ik)² / (K·Σ_i w_i); for classes f = softmax(z) and y is one-hot (the Brier score over K).

    Options: `on` = "probabilities" (default: classes through softmax) or "logits" (the outputs themselves are regressed on
        the one-hot target; predictions are clipped to [0, 1] and normalized).
    Shapes: outputs (B, K), targets (B, K), weights (B,); scalar in squared target units.
    Trade: for classes its gradient vanishes at confident mistakes (plateaus), in exchange for bounded influence of outliers.
    Source: deck D2; Hui and Belkin (2021) for the logit form.
    """

    slot = "objective"
    on: str = option("probabilities", choices=("probabilities", "logits"))

    def loss(self, output: Tensor, batch: Batch, at: At) -> Tensor:
        f = torch.softmax(output, -1) if at.task == "classify" and self.on == "probabilities" else output
        return ((f - batch.y).square().mean(-1) * batch.w).sum() / batch.w.sum()

    def probabilities(self, output: Tensor) -> Tensor:
        if self.on == "probabilities":
            return torch.softmax(output, -1)
        clipped = output.clamp(0.0, 1.0) + 1e-6
        return clipped / clipped.sum(-1, keepdim=True)
