from __future__ import annotations

import math
from typing import Any

import torch.nn.functional as F
from torch import Tensor

from ...errors import EquipoiseError
from ...technique import Technique, knob, option
from ._layer import Layer, check_epsilon, check_units, fold_layers, place_layers


class GroupNorm(Technique):
    """Normalize each example by the mean and variance of groups of units.

    u = (z − μ_g)/√(σ²_g + ε),  ẑ = γ u + β: the C units are cut, in order, into G groups of C/G; μ_g, σ²_g (1/n) over
    the group's channels and all positions of an example behind a convolution, over the group's features (of each
    position) behind a Linear; γ, β per unit. With the gate w: w·ẑ + (1 − w)·z. G = 1 is LayerNorm, on images G = C is
    InstanceNorm. Training and prediction are the same. It is kept as a layer on export: it depends on the example.

    Where `groups` does not divide a site's units, or leaves one value in a group, the next smaller number that does
    neither is used there, and the run says so.

    Knobs: `w` in [0, 1], the gate (0 switches it off).
    Options: `groups` = G ≥ 1; `where` = "all" (default: every affine map but the output's), "dense", or names;
        `units` = the units that take ẑ (μ, σ² are those of whole groups); `affine` = learn γ and β; `epsilon` = ε > 0.
    Shapes: z (B, F), (B, …, F) behind a Linear; (B, C, …) behind a convolution; γ, β (units,).
    Errors: no site left to normalize; a site that another normalization holds; a unit that is not there.
    Trade: BatchNorm's effect on optimization without its dependence on the batch: better from about 8 rows a batch
        downwards, and without its noise, so variance is higher. Costs a pass over z and one over its gradient.
    Source: Wu and He (2018); decks D3, D4.
    """

    slot = "normalization"
    place = ("where",)
    off = {"w": 0.0}
    groups: int = option(32)
    w: float = knob(1.0, low=0.0, high=1.0)
    where: Any = option("all")
    units: Any = option(None)
    affine: bool = option(True, choices=(True, False))  # pyright: ignore[reportIncompatibleMethodOverride]
    epsilon: float = option(1e-5)

    def check(self) -> None:
        if type(self.groups) is not int or self.groups < 1:
            raise EquipoiseError(f"{self!r}: groups is a whole number from 1 up; default 32.")
        check_units(self)
        check_epsilon(self)

    def build(self, net: Any) -> None:
        place_layers(self, net, lambda site: GroupNormLayer(self, site, self.groups_at(site, net)), _too_small)

    def groups_at(self, site: Any, net: Any) -> int:
        """The largest number of groups up to `groups` that divides the site's units and leaves two values in each."""
        c, positions = site.units, positions_of(site)
        fit = (g for g in range(min(self.groups, c), 0, -1) if c % g == 0 and c // g * positions > 1)
        used = next(fit)
        if used != self.groups:
            net.note(f"GroupNorm uses {used} group{'s' * (used > 1)} at {site.name}, which has {c} units.")
        return used

    def fold(self, plain: Any, net: Any, tensors: Any) -> list[str]:
        return fold_layers(self, plain, net, tensors)


def positions_of(site: Any) -> int:
    """Positions over which a convolution's channel is spread; 1 behind a Linear, where each position stands alone."""
    return math.prod(site.shapes[1][1:]) if site.kind == "conv" else 1


def _too_small(site: Any) -> str:
    return "a single value has no variance" if site.units * positions_of(site) == 1 else ""


class GroupNormLayer(Layer):
    """γ u + β in ``groups`` groups; a shift per unit cancels only where every unit is a group of its own."""

    def __init__(self, t: Any, site: Any, groups: int) -> None:
        super().__init__(t, site)
        self.groups, self.epsilon = groups, t.epsilon
        self.cancels_bias = groups == site.units
        self.learn(site.units, scale=t.affine, shift=t.affine)

    def normalized(self, z: Tensor) -> Tensor:
        flat = z if self.channel == 1 else z.reshape(-1, z.shape[-1])
        return F.group_norm(flat, self.groups, self.weight, self.bias, self.epsilon).view(z.shape)
