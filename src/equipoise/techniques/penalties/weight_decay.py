from __future__ import annotations

from ... import tree
from ...technique import At, Params, State, Technique, knob


class WeightDecay(Technique):
    """Decoupled weight decay of the affine weights, with any optimizer.

    w ← (1 − ε λ) w before the optimizer's step at rate ε; the gradient of the loss is unchanged. For SGD it is L2 with α = λ.

    Knobs: `decay` = λ ≥ 0.
    Shapes: weights of two and more dimensions; biases and normalization parameters are exempt.
    Errors: refused beside AdamW(decay ≠ 0): decay has one place.
    Trade: bias up, variance down; with normalization it acts as a higher effective rate instead.
    Source: Loshchilov and Hutter (2019); van Laarhoven (2017).
    """

    off = {"decay": 0.0}
    turn = -1  # before the optimizer
    decay: float = knob(0.01, low=0.0)

    def update(self, grads: Params, state: State, params: Params, at: At) -> tuple[Params, State]:
        shrink = 1 - at.rate * self.decay
        return tree.like({k: p * shrink if k in at.net.affine_weights else p for k, p in params.items()}, params), state
