from __future__ import annotations

import torch

from ... import tree
from ...technique import At, Params, Technique, knob, option


class ClipGradients(Technique):
    """A ceiling for steep slopes.

    `value`: g ← max(−θ, min(θ, g)) for each derivative
    `norm`: g ← g · min(1, θ/(‖g‖ + 10⁻⁶)), ‖g‖ over all parameters together

    Acts on the gradient of the whole batch, after accumulation and reduction over ranks.

    Knobs: `threshold` = θ > 0, in units of the loss per unit of weight (`norm` sums over all parameters, so it wants
        its own, larger or smaller with the network); infinity switches it off.
    Options: `by` = "value" (default, the deck's ceiling; changes the gradient's direction) or "norm" (keeps it).
    Shapes: gradients of all trainable parameters; non-finite ones stay non-finite, so that a failure is still seen.
    Trade: keeps one steep slope from throwing the weights away, so larger rates survive; biased where it acts often.
    Source: Mikolov (2012) by value; Pascanu, Mikolov, Bengio (2013) by norm; deck D2 ("typically 5").
    """

    slot = "clip"
    off = {"threshold": float("inf")}
    threshold: float = knob(5.0, low=0.0, open="low")
    by: str = option("value", choices=("value", "norm"))

    def grads(self, grads: Params, params: Params, at: At) -> Params:
        if self.by == "value":
            ceiling = torch.as_tensor(self.threshold)
            return {k: torch.minimum(torch.maximum(g, -ceiling.to(g)), ceiling.to(g)) for k, g in grads.items()}
        share = torch.clamp(self.threshold / (tree.norm(grads) + 1e-6), max=1.0)
        return tree.like(tree.zip_map(lambda g: share * g, grads), grads)
