from __future__ import annotations

import math
from typing import Any

import torch.nn.functional as F
from torch import Tensor

from ...technique import Technique, knob, option
from ._layer import Layer, check_epsilon, check_units, fold_layers, place_layers


class InstanceNorm(Technique):
    """Normalize each channel of each example over its positions.

    u = (z − μ)/√(σ² + ε),  ẑ = γ u + β, with μ, σ² (1/n) per example and channel over the positions; γ, β per channel.
    With the gate w: w·ẑ + (1 − w)·z, and the bias of a normalized channel, which ẑ does not feel, enters as (1 − w)·b.
    Training and prediction are the same. On images it is GroupNorm(C). It is kept as a layer on export: it depends on
    the example.

    Knobs: `w` in [0, 1], the gate (0 switches it off).
    Options: `where` = "all" (default: every affine map with positions but the output's), "dense", or names; `units` =
        chosen channels; `affine` = learn γ and β; `epsilon` = ε > 0.
    Shapes: z (B, C, …) behind a convolution, (B, T, F) or (B, …, F) behind a Linear; γ, β (units,). A map of vectors
        (B, F) has one position, whose deviation from its own mean is zero: such sites are left alone.
    Errors: no site with positions; a site that another normalization holds; a unit that is not there.
    Trade: takes contrast and brightness away from each channel: variance down where they are a nuisance, bias up where
        they tell. Costs a pass over z and one over its gradient.
    Source: Ulyanov, Vedaldi, Lempitsky (2016); decks D3, D4.
    """

    slot = "normalization"
    place = ("where",)
    off = {"w": 0.0}
    w: float = knob(1.0, low=0.0, high=1.0)
    where: Any = option("all")
    units: Any = option(None)
    affine: bool = option(True, choices=(True, False))  # pyright: ignore[reportIncompatibleMethodOverride]
    epsilon: float = option(1e-5)

    def check(self) -> None:
        check_units(self)
        check_epsilon(self)

    def build(self, net: Any) -> None:
        place_layers(self, net, lambda site: _InstanceNorm(self, site), _without_positions)

    def fold(self, plain: Any, net: Any, tensors: Any) -> list[str]:
        return fold_layers(self, plain, net, tensors)


def _without_positions(site: Any) -> str:
    shape = site.shapes[1]
    positions = math.prod(shape[1:] if site.kind == "conv" else shape[:-1])
    return "" if positions > 1 else "its output has one position, which is its own mean"


class _InstanceNorm(Layer):
    cancels_bias = True

    def __init__(self, t: InstanceNorm, site: Any) -> None:
        super().__init__(t, site)
        self.epsilon = t.epsilon
        self.learn(site.units, scale=t.affine, shift=t.affine)

    def normalized(self, z: Tensor) -> Tensor:
        if self.channel == 1:
            return F.group_norm(z, z.shape[1], self.weight, self.bias, self.epsilon)
        first = z.movedim(-1, 1)
        return F.group_norm(first, first.shape[1], self.weight, self.bias, self.epsilon).movedim(1, -1)
