from __future__ import annotations

import torch
from torch import Tensor

from ...technique import At, Batch, Technique, option
from ._rows import mean_over_rows


class SquaredError(Technique):
    """Mean squared error, for regression and, to compare the surfaces, for classification.

    L = Σ_i w_i Σ_k (f_ik − y_ik)²/(K Σ_i w_i);  regression: f = z;  classes: y is one-hot, f = softmax(z) or f = z

    Options: `on` = "probabilities" (default: classes through softmax, the Brier score over K) or "logits" (the outputs
        themselves are regressed on the one-hot target; predictions are clipped to [0, 1] and normalized). Regression
        takes no notice of it.
    Shapes: outputs z (B, K), targets y (B, K), weights w (B,); scalar in squared target units.
    Trade: for classes not convex in the logits, and flat at confident mistakes (plateaus), in exchange for a bounded
        influence of wrong labels. For regression the maximum-likelihood objective of Gaussian noise.
    Source: deck D2; Hui and Belkin (2021) for the logit form.
    """

    slot = "objective"
    on: str = option("probabilities", choices=("probabilities", "logits"))

    def loss(self, output: Tensor, batch: Batch, at: At) -> Tensor:
        f = torch.softmax(output, -1) if at.task == "classify" and self.on == "probabilities" else output
        return mean_over_rows((f - batch.y).square().mean(-1), batch.w)

    def probabilities(self, output: Tensor) -> Tensor:
        if self.on == "probabilities":
            return torch.softmax(output, -1)
        clipped = output.clamp(0.0, 1.0) + 1e-6
        return clipped / clipped.sum(-1, keepdim=True)
