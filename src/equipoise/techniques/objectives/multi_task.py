from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

from ...errors import EquipoiseError
from ...technique import At, Batch, Technique, option
from ._rows import mean_over_rows

LOG_VARIANCE = (
    "multitask_log_variance"  # the learned weights: a parameter of our copy of the network, not of the plain one
)


class MultiTask(Technique):
    """Several targets from one trunk, each with a weight of its own; targets may be missing.

    E_k = Σ_i w_i m_ik (f_ik − y_ik)²/Σ_i w_i m_ik, m_ik = 1 where the target of task k is there, 0 where it is missing
    `fixed`: L = Σ_k λ_k E_k/Σ_k λ_k;  `uncertainty`: L = (1/T) Σ_k (exp(−s_k) E_k + s_k) over the tasks in the batch

    s_k = log σ_k² is learned with the network from 0, where L is SquaredError's; at rest exp(s_k) = E_k. It is the
    negative log-likelihood of Gaussian noise of variance σ_k², times 2/T. A task with no target in a batch adds
    nothing.

    Options: `weighting` = "fixed" or "uncertainty"; `weights` = λ, one number ≥ 0 per target (default: all 1), for
        "fixed".
    Shapes: outputs f (B, T), targets y (B, T) with NaN where missing, weights w (B,); scalar in squared target units.
    Errors: refused for classification; weights that are not one per target, or all 0.
    Trade: tasks that share structure act as more rows for the trunk: variance down; tasks that do not pull it away:
        bias up. Learned weights keep a noisy or large-scaled task from drowning the others.
    Source: Caruana (1997); Kendall, Gal, Cipolla (2018); deck D1.
    """

    slot = "objective"
    tasks = ("regress",)
    weighting: str = option("fixed", choices=("fixed", "uncertainty"))
    weights: Any = option(None)

    def check(self) -> None:
        if self.weights is None:
            return
        if self.weighting == "uncertainty":
            raise EquipoiseError(
                f"{self!r}: weights are learned under 'uncertainty'; give them with weighting='fixed'."
            )
        numbers = isinstance(self.weights, tuple) and all(type(v) in (int, float) for v in self.weights)
        if not (numbers and all(0 <= v < math.inf for v in self.weights) and sum(self.weights) > 0):
            raise EquipoiseError(f"{self!r}: weights lists one number from 0 on per target, not all 0.")

    def build(self, net: Any) -> None:
        targets = net.output.shape[-1]
        if self.weights is not None and len(self.weights) != targets:
            raise EquipoiseError(f"{self!r}: {len(self.weights)} weights for {targets} targets; give one each.")
        if self.weighting == "uncertainty":
            net.module.register_parameter(LOG_VARIANCE, nn.Parameter(torch.zeros(targets)))

    def loss(self, output: Tensor, batch: Batch, at: At) -> Tensor:
        there = ~batch.y.isnan()
        error = torch.where(there, output - torch.where(there, batch.y, 0.0), 0.0)
        w = batch.w[:, None] * there
        errors = mean_over_rows(error.square(), w)
        if self.weighting == "uncertainty":
            s = at.params[LOG_VARIANCE]
            return torch.where(w.sum(0) > 0, torch.exp(-s) * errors + s, 0.0).mean()
        weights = errors.new_tensor(self.weights or [1.0] * len(errors))
        return (weights * errors).sum() / weights.sum()
