from __future__ import annotations

from torch import Tensor

from ...technique import At, Batch, Technique
from ._rows import mean_over_rows


class CrossEntropy(Technique):
    """Cross-entropy of softmax probabilities with hard or soft targets: the KL divergence up to the targets' entropy.

    L = −Σ_i w_i Σ_c y_ic log p_ic/Σ_i w_i,  p_i = softmax(z_i)

    Shapes: outputs z (B, C), targets y (B, C) summing to 1 in a row, weights w (B,); scalar in nats.
    Errors: refused for regression.
    Trade: the maximum-likelihood objective; convex in the logits, and at a confident mistake its gradient stays 1 where
        squared error's vanishes. Unbounded: one wrong label can weigh much.
    Source: Bridle (1990); deck D2.
    """

    slot = "objective"
    tasks = ("classify",)

    def loss(self, output: Tensor, batch: Batch, at: At) -> Tensor:
        return mean_over_rows(-(batch.y * output.log_softmax(-1)).sum(-1), batch.w)
