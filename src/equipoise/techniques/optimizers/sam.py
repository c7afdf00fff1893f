from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ... import tree
from ...technique import Params, Technique, knob


class SAM(Technique):
    """Sharpness-aware minimization: the gradient is taken at the worst point near by.

    e = ρ g(θ)/(‖g(θ)‖ + 10⁻¹²),  g ← ∇L(θ + e) on the same batch with the same noise; the norm is over all parameters

    The step is applied to θ; loss and batch-norm statistics are those of the pass at θ.

    Knobs: `rho` = ρ ≥ 0, the radius in the units of the weights; 0 switches it off.
    Shapes: acts on the gradients of all trainable parameters together.
    Trade: a variance reducer that prefers flat minima; every step costs two gradients. With small batches the worst
        point is that of the batch, which is where the gain comes from.
    Source: Foret, Kleiner, Mobahi, Neyshabur (2021).
    """

    off = {"rho": 0.0}
    rho: float = knob(0.05, low=0.0)

    def gradient(self, value_and_grad: Callable[..., Any]) -> Callable[..., Any]:
        def at_the_worst(params: Params) -> tuple[Params, Any]:
            grads, here = value_and_grad(params)
            scale = self.rho / (tree.norm(grads) + 1e-12)
            worst = tree.like(tree.zip_map(lambda p, g: p + scale * g, params, grads), params)
            return value_and_grad(worst)[0], here

        return at_the_worst
