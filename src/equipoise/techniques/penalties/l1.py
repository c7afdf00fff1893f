from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from ... import tree
from ...technique import At, Params, Technique, knob, option
from ._parameters import ON, penalized

WHY = (
    "the proximal step's threshold is that of a plain gradient step; "
    "take SGD, Momentum or Nesterov, or L1(step='subgradient')."
)


class L1(Technique):
    """Absolute-value penalty on the affine weights: sparse weights.

    L + α |w|₁.  `proximal`: after each update at rate ε  w ← sgn(w) · max(|w| − ε α, 0), which sets small weights to
    exactly 0 (the proximal operator of ε α |w|₁).  `subgradient`: α Σ|w| is added to the loss, with sgn(0) = 0;
    weights then jitter around 0 by about ε α and none is exactly 0.

    Knobs: `alpha` = α ≥ 0, in units of the loss per unit of weight (0 switches it off).
    Options: `step` = "proximal" (default) or "subgradient"; `on` = "weights" (default: weights of two and more
        dimensions), "affine" (biases too) or "all" (normalization parameters too).
    Shapes: every entry of the chosen parameters alike.
    Errors: `proximal` beside an optimizer that scales each weight's gradient (Adam, AdamW, RMSprop, Muon) is refused:
        ε α is not the threshold of their steps.
    Trade: with curvature h, w* → sgn(w*) · max(|w*| − α/h, 0): selects weights; bias up, variance down. Under momentum
        β a gradient enters 1/(1 − β) steps but the threshold one: the proximal form then acts as (1 − β) α, the
        subgradient as α.
    Source: Tibshirani (1996); Daubechies, Defrise and De Mol (2004); decks D1, D4.
    """

    off = {"alpha": 0.0}
    alpha: float = knob(1e-4, low=0.0)
    step: str = option("proximal", choices=("proximal", "subgradient"))
    on: str = option("weights", choices=ON)

    @property
    def conflicts(self) -> Mapping[str, str]:  # pyright: ignore[reportIncompatibleVariableOverride]
        """The optimizers that the proximal step does not fit."""
        return {} if self.step == "subgradient" else dict.fromkeys(("Adam", "AdamW", "RMSprop", "Muon"), WHY)

    def penalty(self, params: Params, at: At) -> Tensor:
        zero = next(iter(params.values())).new_zeros(())
        if self.step == "proximal":
            return zero
        total = sum([params[k].abs().sum() for k in penalized(at.net, params, self.on)], zero)
        return (total * self.alpha).to(total.dtype)

    def project(self, params: Params, at: At) -> Params:
        if self.step == "subgradient":
            return params
        threshold: Any = at.rate * self.alpha
        shrunk = {k: soft_threshold(params[k], threshold) for k in penalized(at.net, params, self.on)}
        return tree.like({k: shrunk.get(k, p) for k, p in params.items()}, params)


def soft_threshold(w: Tensor, threshold: Any) -> Tensor:
    """sgn(w) · max(|w| − threshold, 0), elementwise; exactly w at threshold 0."""
    return torch.sign(w) * torch.clamp(w.abs() - threshold, min=0.0)
