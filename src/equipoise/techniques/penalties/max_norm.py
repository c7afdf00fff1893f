from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from ... import tree
from ...technique import At, Params, Technique, knob


class MaxNorm(Technique):
    """Keep the incoming weights of every unit inside a ball.

    After each update, for the weights w_j that come into unit j:  w_j ← w_j · min(1, c/‖w_j‖₂)

    Knobs: `c` > 0, the largest norm; 1e30 switches it off.
    Shapes: affine weights (units, …): the norm runs over all axes but the first, so a convolution's unit is an output
        channel with its kernel, and a gate of a recurrent cell is a unit of its own. Biases are neither counted nor
        bounded.
    Trade: bounds the slope of each unit without pulling small weights to 0: variance down, little bias where c does not
        bind; lets Dropout train at large rates. One pass over the weights a step.
    Source: Srebro and Shraibman (2005); Srivastava et al. (2014), the companion of Dropout (c = 3 to 4).
    """

    off = {"c": 1e30}
    c: float = knob(3.0, low=0.0, high=math.inf, open="both")

    def project(self, params: Params, at: At) -> Params:
        bounded = {k: project_units(p, self.c) for k, p in params.items() if k in at.net.affine_weights}
        return tree.like({k: bounded.get(k, p) for k, p in params.items()}, params)


def project_units(w: Tensor, c: Any) -> Tensor:
    """Each w[j] onto the ball of radius ``c``; exactly w where it lies inside."""
    axes = tuple(range(1, w.dim()))
    norm = w.square().sum(axes, keepdim=True).sqrt()
    return torch.where(norm > c, w * (c / norm), w)
