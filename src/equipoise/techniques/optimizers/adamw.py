from __future__ import annotations

from typing import Any

from ... import tree
from ...technique import At, Params, State, Technique, knob
from .adam import adam


class AdamW(Technique):
    """Adam with decoupled weight decay on the affine weights.

    w ← (1 − ε λ) w, then Adam's step with the gradient of the loss alone. Biases and normalization parameters do not
    decay.

    Knobs: `rate` = ε > 0; `decay` = λ ≥ 0 (default 0: then it is Adam); `beta1`, `beta2` in [0, 1); `delta` = δ > 0.
    Shapes: state m, v, one tensor each per parameter.
    Errors: `decay` ≠ 0 together with the entry WeightDecay is refused: decay has one place.
    Trade: as Adam; the decay shrinks weights at the same relative speed whatever their gradients.
    Source: Loshchilov and Hutter (2019).
    """

    slot = "optimizer"
    rate: float = knob(1e-3, low=0.0, open="low")
    decay: float = knob(0.0, low=0.0)
    beta1: float = knob(0.9, low=0.0, high=1.0, open="high")
    beta2: float = knob(0.999, low=0.0, high=1.0, open="high")
    delta: float = knob(1e-8, low=0.0, open="low")

    def start(self, params: Params, net: Any) -> State:
        return {"m": tree.zeros_like(params), "v": tree.zeros_like(params)}

    def update(self, grads: Params, state: State, params: Params, at: At) -> tuple[Params, State]:
        shrink = 1 - at.rate * self.decay
        kept = {k: p * shrink if k in at.net.affine_weights else p for k, p in params.items()}
        return adam(self, grads, state, tree.like(kept, params), at)
