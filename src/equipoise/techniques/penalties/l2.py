from __future__ import annotations

from torch import Tensor

from ...technique import At, Params, Technique, knob, option
from ._parameters import ON, penalized


class L2(Technique):
    """Squared-norm penalty on the affine weights.

    L + α/2 · Σ ‖w‖²; one SGD step is w − ε(∂L/∂w + α w) = (1 − ε α) w − ε ∂L/∂w.
    Around the minimum w* of a quadratic loss with curvature h it moves the minimum to h/(h + α) · w*.

    Knobs: `alpha` = α ≥ 0, in units of the loss per squared weight (0 switches it off).
    Options: `on` = "weights" (default: weights of two and more dimensions), "affine" (biases too) or "all"
        (normalization parameters too). Penalized biases underfit shifted data.
    Shapes: every chosen parameter whole; a scalar added to the loss.
    Trade: shrinks eigendirections by h/(h + α): bias up, variance down; profitable for small α, then not. One pass over
        the weights a step.
    Source: Hoerl and Kennard (1970); Krogh and Hertz (1992); decks D1, D2, D4.
    """

    off = {"alpha": 0.0}
    alpha: float = knob(1e-4, low=0.0)
    on: str = option("weights", choices=ON)

    def penalty(self, params: Params, at: At) -> Tensor:
        squares = [params[k].square().sum() for k in penalized(at.net, params, self.on)]
        total = sum(squares, next(iter(params.values())).new_zeros(()))
        return (total * (self.alpha / 2)).to(total.dtype)
