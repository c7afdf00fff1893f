from __future__ import annotations

from typing import Any

import torch.nn.functional as F
from torch import Tensor

from ...technique import Technique, knob, option
from ._layer import Layer, check_epsilon, check_units, fold_layers, place_layers


class LayerNorm(Technique):
    """Normalize each example by the mean and variance of all units of the layer.

    u = (z − μ)/√(σ² + ε),  ẑ = γ u + β, with μ, σ² (1/n) over the features of an example (of each position) behind a
    Linear, over channels and positions of an example behind a convolution; γ, β per unit or channel. With the gate w:
    w·ẑ + (1 − w)·z. Training and prediction are the same. It is kept as a layer on export: it depends on the example.

    Knobs: `w` in [0, 1], the gate (0 switches it off).
    Options: `where` = "all" (default: every affine map but the output's), "dense", or names; `units` = the units that
        take ẑ (μ, σ² are those of the whole layer); `affine` = learn γ and β; `epsilon` = ε > 0.
    Shapes: z (B, F), (B, …, F) behind a Linear; (B, C, …) behind a convolution; γ, β (units,).
    Errors: no site left to normalize; a site that another normalization holds; a unit that is not there.
    Trade: no noise and no dependence on the batch, so no regularization of its own; takes the layer's mean and scale
        away from what the next layer sees (bias up where they tell). Costs a pass over z and one over its gradient.
    Source: Ba, Kiros, Hinton (2016); on images Wu and He (2018); decks D3, D4.
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
        place_layers(self, net, lambda site: _LayerNorm(self, site))

    def fold(self, plain: Any, net: Any, tensors: Any) -> list[str]:
        return fold_layers(self, plain, net, tensors)


class _LayerNorm(Layer):
    def __init__(self, t: LayerNorm, site: Any) -> None:
        super().__init__(t, site)
        self.epsilon = t.epsilon
        self.learn(site.units, scale=t.affine, shift=t.affine)

    def normalized(self, z: Tensor) -> Tensor:
        if self.channel == 1:
            return F.group_norm(z, 1, self.weight, self.bias, self.epsilon)
        return F.layer_norm(z, z.shape[-1:], self.weight, self.bias, self.epsilon)
