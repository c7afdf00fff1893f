from __future__ import annotations

from torch import Tensor

from ...technique import At, Params, Technique, knob


class L2(Technique):
    """Squared-norm penalty on the affine weights.

    L + α/2 · Σ ‖w‖²; one SGD step is w − ε(∂L/∂w + α w) = (1 − ε α) w − ε ∂L/∂w

    Knobs: `alpha` = α ≥ 0, in units of the loss per squared weight.
    Shapes: weights of two and more dimensions; biases and normalization parameters are exempt.
    Trade: shrinks eigendirections by h/(h + α): bias up, variance down; profitable for small α, then not.
    Source: Hoerl and Kennard (1970); Krogh and Hertz (1992); decks D1, D2, D4.
    """

    off = {"alpha": 0.0}
    alpha: float = knob(1e-4, low=0.0)

    def penalty(self, params: Params, at: At) -> Tensor:
        squares = sum(
            (params[k].square().sum() for k in params if k in at.net.affine_weights),
            params[next(iter(params))].new_zeros(()),
        )
        return 0.5 * self.alpha * squares
