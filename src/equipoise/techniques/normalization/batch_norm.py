from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from ...technique import Technique, knob, option
from ._layer import Layer, fold_layers, place_layers


class BatchNorm(Technique):
    """Batch normalization between the affine map and the activation.

    u = (z − μ_B)/√(σ²_B + ε),  ẑ = γ u + β; per unit for vectors, per channel over N × positions for images.
    σ²_B with 1/m (`ddof` = 0) or 1/(m − 1) (`ddof` = 1), m = N × positions. Prediction uses running averages
    μ ← (1 − a) μ + a μ_B (the variance unbiased as torch's). With the gate w: w·ẑ + (1 − w)·z, and the bias of a
    normalized unit enters as (1 − w)·b, without gradient where w = 1.

    Knobs: `w` in [0, 1], the gate (0 switches it off).
    Options: `where` = "all" (default: every affine map but the output's), "dense", or names; `units` = chosen units;
        `ddof` = 0 or 1; `affine` = learn γ and β; `momentum` = a; `epsilon` = ε; `statistics` = "running" or "population".
    Shapes: z (B, F), (B, T, F), (B, C, …); γ, β, μ, σ² (units,).
    Errors: no site left to normalize; a site that another normalization holds; batches of one example.
    Trade: smooths the loss surface, so that larger rates train; its batch noise reduces variance a little; needs m ≥ 8 or so.
    Source: Ioffe and Szegedy (2015); Santurkar et al. (2018); decks D0 to D4.
    """

    slot = "normalization"
    place = ("where",)
    off = {"w": 0.0}
    companions = ("a higher rate", "faster decay", "reshuffling each epoch", "less Dropout and L2")
    w: float = knob(1.0, low=0.0, high=1.0)
    where: Any = option("all")
    units: Any = option(None)
    ddof: int = option(0, choices=(0, 1))
    affine: bool = option(True, choices=(True, False))
    momentum: float = option(0.1)
    epsilon: float = option(1e-5)
    statistics: str = option("running", choices=("running", "population"))

    def build(self, net: Any) -> None:
        place_layers(self, net, lambda site: BatchNormLayer(self, site))

    def fold(self, plain: Any, net: Any, tensors: Any) -> list[str]:
        return fold_layers(self, plain, net, tensors)


class BatchNormLayer(Layer):
    """γ u + β per unit; statistics are rebound, never written in place."""

    running_mean: Tensor
    running_var: Tensor

    def __init__(self, t: BatchNorm, site: Any) -> None:
        super().__init__(t, site)
        self.ddof, self.momentum, self.epsilon = t.ddof, t.momentum, t.epsilon
        n = site.units
        self.weight = nn.Parameter(torch.ones(n)) if t.affine else None
        self.bias = nn.Parameter(torch.zeros(n)) if t.affine else None
        self.register_buffer("running_mean", torch.zeros(n))
        self.register_buffer("running_var", torch.ones(n))

    def normalized(self, z: Tensor) -> Tensor:
        if self.training:
            mean, var, m = self.statistics(z)
            unbiased = var * (m / max(m - 1, 1))
            a = self.momentum
            self.running_mean = ((1 - a) * self.running_mean + a * mean.detach()).to(self.running_mean.dtype)
            self.running_var = ((1 - a) * self.running_var + a * unbiased.detach()).to(self.running_var.dtype)
            var = unbiased if self.ddof else var
        else:
            mean, var = self.running_mean, self.running_var
        scale = torch.rsqrt(var + self.epsilon)
        u = (z - self.view(mean, z)) * self.view(scale, z)
        return u if self.weight is None else u * self.view(self.weight, z) + self.view(self.bias, z)

    def statistics(self, z: Tensor) -> tuple[Tensor, Tensor, int]:
        """Mean, variance (1/m) and m per unit."""
        axis = self.channel % z.dim()
        var, mean = torch.var_mean(z, [d for d in range(z.dim()) if d != axis], correction=0)
        return mean, var, z.numel() // z.shape[axis]

    def as_affine(self) -> tuple[Tensor, Tensor]:
        scale = torch.rsqrt(self.running_var.double() + self.epsilon)
        shift = -self.running_mean.double() * scale
        if self.weight is not None and self.bias is not None:
            scale, shift = scale * self.weight.double(), shift * self.weight.double() + self.bias.double()
        return scale, shift
