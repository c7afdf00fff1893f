from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ...errors import EquipoiseError
from ...technique import Technique, option


class Targets(Technique):
    """How targets are written for the network, and how its outputs are read.

    Regression: y′ = (y − μ) / σ with μ, σ (1/n) of the fit rows, per target; predictions return as σ·ŷ′ + μ, so metrics
    are in the user's units. A constant target gets σ = 1; missing ones (NaN) are left out. Several targets have one
    output each.

    Classes, coding = "softmax": one logit per label of the map learned by the data; for two classes a network may give
    one logit z instead, read as the logits (0, z): P(second label) = 1/(1 + e^(−z)), and cross-entropy is the logistic
    loss. coding = "ordinal": labels in their order 0 … K−1 from K − 1 outputs z, by falling cumulative logits a,
        P(y > k) = 1/(1 + e^(−a_k)),  a_0 = z_0 + ln(K−1),  a_k = a_(k−1) − ln(1 + e^(z_k + c_k)),
    c_k = ln(K/(k(K−1−k))), so that P(y = k) = P(y > k−1) − P(y > k) > 0 always, and z = 0 gives every class 1/K.

    Options: `coding` = "softmax" (default) or "ordinal"; regression knows the first alone.
    Shapes: y (B, T) in the user's units, outputs (…, T); classes: outputs (…, C), (…, 1) for two, (…, C − 1) ordinal.
    Errors: "ordinal" for regression.
    Trade: scaling none on bias or variance, it makes learning rates comparable between data sets; "ordinal" lowers
        variance where the labels have an order (neighbours share thresholds) and biases where they have none.
    Source: McCullagh (1980), cumulative logits; LeCun et al. (1998); deck D2 ("representation for inputs and outputs").
    """

    slot = "targets"
    turn = -2  # it leaves x alone: first, so that no prepared copy of all rows is made for its sake
    coding: str = option("softmax", choices=("softmax", "ordinal"))

    def fit(self, x: Any, y: Tensor, data: Any) -> dict[str, Tensor]:
        if not y.is_floating_point():  # codes of classes
            return {}
        if self.coding != "softmax":
            raise EquipoiseError(f"{self!r} orders classes, but the task is regress: leave coding out.")
        y = y.double()
        mean = y.nanmean(0).nan_to_num(0.0)
        std = (y - mean).square().nanmean(0).nan_to_num(0.0).sqrt()
        return {"mean": mean, "std": torch.where(std > 1e-12 * mean.abs(), std, 1.0)}

    def prepare_target(self, y: Tensor, fitted: Mapping[str, Tensor]) -> Tensor:
        return (y - fitted["mean"]) / fitted["std"] if fitted else y

    def restore(self, y: Tensor, fitted: Mapping[str, Tensor]) -> Tensor:
        return y * fitted["std"] + fitted["mean"] if fitted else y

    def widths(self, outputs: int, task: str) -> tuple[int, ...]:
        """Output widths a network may have for so many classes or targets; a reference network gets the first."""
        if task == "classify" and self.coding == "ordinal":
            return (outputs - 1,)
        return (2, 1) if task == "classify" and outputs == 2 else (outputs,)

    def decode(self, output: Tensor, task: str) -> Tensor:
        """Network outputs (…, width) to what the objective reads: logits (…, C), or standardized targets (…, T)."""
        if task != "classify":
            return output
        if self.coding == "ordinal":
            return _cumulative(output)
        return torch.cat([torch.zeros_like(output), output], -1) if output.shape[-1] == 1 else output


def _cumulative(z: Tensor) -> Tensor:
    """K − 1 outputs to K log-probabilities of ordered classes.

    With s = z + c: ln P(y = k) = ln σ(a_(k−1)) + ln σ(−a_k) + ln σ(s_k), for σ(a) − σ(b) = σ(a) σ(−b) (1 − e^(b−a)) and
    1 − e^(−ln(1 + e^s)) = σ(s); the ends lack the terms of the thresholds they do not have.
    """
    K = z.shape[-1] + 1
    c = [math.log(K - 1), *(math.log(K / (k * (K - 1 - k))) for k in range(1, K - 1))]
    s = z + torch.tensor(c, dtype=z.dtype, device=z.device)
    a = torch.cat([s[..., :1], s[..., :1] - F.softplus(s[..., 1:]).cumsum(-1)], -1)
    none = torch.zeros_like(a[..., :1])
    above, below = torch.cat([none, F.logsigmoid(a)], -1), torch.cat([F.logsigmoid(-a), none], -1)
    return above + below + torch.cat([none, F.logsigmoid(s[..., 1:]), none], -1)
