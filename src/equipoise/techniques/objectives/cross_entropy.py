from __future__ import annotations

from torch import Tensor

from ...technique import At, Batch, Technique


class CrossEntropy(Technique):
    """Cross-entropy of softmax probabilities with (possibly soft) targets; up to H(y) the KL divergence.

    L = −Σ_i w_i Σ_c y_ic log softmax(z_i)_c / Σ_i w_i

    Shapes: outputs z (B, C), targets y (B, C) summing to 1, weights w (B,); scalar in nats.
    Errors: refused for regression.
    Trade: convex in the logits; at a confident mistake its gradient stays 1 where squared error's vanishes.
    Source: Bridle (1990); deck D2.
    """

    slot = "objective"
    tasks = ("classify",)

    def loss(self, output: Tensor, batch: Batch, at: At) -> Tensor:
        rows = -(batch.y * output.log_softmax(-1)).sum(-1)
        return (rows * batch.w).sum() / batch.w.sum()
