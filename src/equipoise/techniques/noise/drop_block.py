from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ...errors import EquipoiseError
from ...technique import At, Technique, knob, option
from ._units import hidden_sites

_POOL = {1: F.max_pool1d, 2: F.max_pool2d, 3: F.max_pool3d}


class DropBlock(Technique):
    """Drop contiguous blocks of feature maps.

    Corners of blocks ~ Bernoulli(γ) wherever a block of side s fits into the map, per channel and example, with
    γ = p/s^d · Π_k n_k/(n_k − s + 1) for d spatial axes of lengths n_k; M = 0 on every block, 1 elsewhere;
    x̃ = x ⊙ M · count(M)/ΣM, the counts taken over the channels and positions of an example. Prediction uses x. Blocks
    overlap, so a little less than p is dropped, and E[x̃] = x holds on average over a map, not at each position.

    Knobs: `p` = share of positions to drop, in [0, 1); 0 switches it off.
    Options: `side` = s ≥ 1, cut to the shortest axis of a smaller map (1 drops single positions); `ramp` = "linear"
        (default, as the paper advises: p·t/steps at step t) or "none"; `where` = "all" (default: every convolution
        that reads hidden units), or names, which may read the network's input.
    Shapes: convolution inputs (B, C, …) with one to three spatial axes.
    Errors: a `where` that names no convolution; a side below 1.
    Trade: a variance reducer for convolutions, whose neighbouring positions are alike; needs longer training.
    Source: Ghiasi, Lin and Le (2018), DropBlock.
    """

    place = ("where",)
    off = {"p": 0.0}
    random = True
    kinds = ("image", "sequence")
    p: float = knob(0.1, low=0.0, high=1.0, open="high")
    side: int = option(7)
    ramp: str = option("linear", choices=("linear", "none"))
    where: Any = option("all")

    def check(self) -> None:
        if type(self.side) is not int or self.side < 1:
            raise EquipoiseError(f"{self!r}: side is the edge of a block in positions, a whole number from 1.")

    def sites(self, net: Any) -> list[Any]:
        found = hidden_sites(self, net, ("conv",))
        odd = next((s for s in found if s.kind != "conv"), None)
        if odd is not None:
            raise EquipoiseError(f"{self!r}: {odd.name} is {odd.kind}, its inputs are no maps: name convolutions.")
        return found

    def act(self, x: Tensor, at: At) -> Tensor:
        if at.noise is None:
            return x
        lengths = x.shape[2:]
        s = min(self.side, *lengths)
        corners = tuple(n - s + 1 for n in lengths)
        p = self.p * (at.t / at.steps) if self.ramp == "linear" and at.training else self.p
        gamma = p * (math.prod(lengths) / (s ** len(lengths) * math.prod(corners)))
        exact = torch.promote_types(x.dtype, torch.float32)  # bfloat16 cannot count beyond 256
        blocks = at.noise.bernoulli((*x.shape[:2], *corners), gamma).to(exact)
        mask = 1 - _POOL[len(lengths)](F.pad(blocks, (s - 1, s - 1) * len(lengths)), s, stride=1)
        ones = mask.sum(tuple(range(1, x.dim())), keepdim=True).clamp(min=1)
        scale = torch.full_like(ones, math.prod(x.shape[1:])) / ones  # a plain n / ones takes a reciprocal: no exact 1
        return (x * (mask * scale)).to(x.dtype)
