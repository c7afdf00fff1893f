from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from ...technique import At, Params, Technique, knob
from ._draw import biases_of, replace_weights


class Constant(Technique):
    """Every weight and every bias of every affine map starts at c: the failure that random starts exist to avoid.

    w = b = c. Units of a hidden layer that start alike get equal gradients and never diverge: a layer of any width acts
    as one unit. With c = 0 a tanh or ReLU net moves its last bias alone. It is here to be shown and to be diagnosed.

    Knobs: `c`, any finite number.
    Shapes: every trainable weight and bias of every site; normalizations keep theirs.
    Errors: no trainable weight of a site in the model.
    Trade: pure bias: the net behaves as one of width 1. There is nothing to gain.
    Source: decks D1, D2 ("identically initialized will never diverge"), D4.
    """

    slot = "initialization"
    c: float = knob(0.0, open="both")

    def init(self, params: Params, at: Callable[[Any], At]) -> Params:
        new = replace_weights(self, params, at, lambda site, w, noise: self._filled(w))
        for site in at(None).net.sites:
            for name in biases_of(site):
                if name in params and any(w in params for w in site.weights):
                    new[name] = self._filled(params[name])
        return new

    def _filled(self, w: torch.Tensor) -> torch.Tensor:
        """By way of float64: what the weights' own type cannot hold becomes infinite, which is told where it shows."""
        return (torch.zeros_like(w, dtype=torch.float64) + self.c).to(w.dtype)
