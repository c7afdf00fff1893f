from __future__ import annotations

from ... import tree
from ...technique import At, Params, State, Technique, knob, option
from ._parameters import ON, penalized


class WeightDecay(Technique):
    """Decoupled weight decay of the affine weights, with any optimizer.

    w ← (1 − ε λ) w before the optimizer's step at rate ε; the gradient is that of the loss alone.
    For SGD it is L2 with α = λ.

    Knobs: `decay` = λ ≥ 0 (0 switches it off).
    Options: `on` = "weights" (default: weights of two and more dimensions), "affine" (biases too) or "all"
        (normalization parameters too).
    Shapes: every chosen parameter whole.
    Errors: refused beside AdamW(decay ≠ 0): decay has one place.
    Trade: bias up, variance down; with normalization it acts as a higher effective rate instead. One pass over the
        weights a step.
    Source: Loshchilov and Hutter (2019); van Laarhoven (2017).
    """

    off = {"decay": 0.0}
    turn = -1  # before the optimizer
    decay: float = knob(0.01, low=0.0)
    on: str = option("weights", choices=ON)

    def update(self, grads: Params, state: State, params: Params, at: At) -> tuple[Params, State]:
        shrink = 1 - at.rate * self.decay
        shrunk = {k: params[k] * shrink for k in penalized(at.net, params, self.on)}
        return tree.like({k: shrunk.get(k, p) for k, p in params.items()}, params), state
