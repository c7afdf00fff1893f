from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ...technique import Technique, knob, option
from ._layer import Layer, check_epsilon, check_units, fold_layers, place_layers


class RMSNorm(Technique):
    """Divide each example by the root mean square of the layer's units; no mean is taken away.

    ẑ = γ z/√(mean(z²) + ε), the mean over the features of an example (of each position) behind a Linear, over channels
    and positions of an example behind a convolution; γ per unit or channel, no β. With the gate w: w·ẑ + (1 − w)·z.
    Training and prediction are the same. It is kept as a layer on export: it depends on the example.

    Knobs: `w` in [0, 1], the gate (0 switches it off).
    Options: `where` = "all" (default: every affine map but the output's), "dense", or names; `units` = the units that
        take ẑ (the mean square is that of the whole layer); `affine` = learn γ; `epsilon` = ε > 0.
    Shapes: z (B, F), (B, …, F) behind a Linear; (B, C, …) behind a convolution; γ (units,).
    Errors: no site left to normalize; a site that another normalization holds; a unit that is not there.
    Trade: LayerNorm's invariance to scale without that to shift, at about two thirds of its cost; no noise, so no
        regularization of its own.
    Source: Zhang and Sennrich (2019).
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
        place_layers(self, net, lambda site: _RMSNorm(self, site))

    def fold(self, plain: Any, net: Any, tensors: Any) -> list[str]:
        return fold_layers(self, plain, net, tensors)


class _RMSNorm(Layer):
    def __init__(self, t: RMSNorm, site: Any) -> None:
        super().__init__(t, site)
        self.epsilon = t.epsilon
        self.learn(site.units, scale=t.affine, shift=False)

    def normalized(self, z: Tensor) -> Tensor:
        full = z if z.dtype == torch.float64 else z.float()  # squares of half precision overflow early
        if self.channel == -1:
            return F.rms_norm(full, full.shape[-1:], self.weight, self.epsilon)
        u = full * torch.rsqrt((full * full).mean(tuple(range(1, full.dim())), keepdim=True) + self.epsilon)
        return u if self.weight is None else u * self.view(self.weight, u)
