from __future__ import annotations

from typing import Any

from torch import Tensor

from ...technique import At, Technique, knob, option
from ._units import GENERIC, drop, hidden_sites, input_axis


class SpatialDropout(Technique):
    """Drop whole feature maps: one Bernoulli per channel and example, for all its positions.

    x̃_c = r_c x_c, r_c = 0 with probability p, else 1/(1 − p). Prediction uses x. E[x̃] = x, Var[x̃] = p/(1 − p) x².

    Knobs: `p` = probability to drop, in [0, 1); 0 switches it off.
    Options: `where` = "all" (default: every map of hidden units that have positions), "dense" (those of them that are
        Linear), or names, which may read the network's input.
    Shapes: convolution inputs (B, C, …): one draw per (row, channel); Linear and recurrent inputs (B, T, F): one per
        (row, feature). Without positions, (B, F), it is Dropout.
    Errors: a `where` that names no site; no map of hidden units with positions.
    Trade: a variance reducer where neighbouring positions are so alike that dropping single ones removes nothing; more
        biased than dropout at the same p.
    Source: Tompson et al. (2015), Efficient object localization using convolutional networks.
    """

    place = ("where",)
    off = {"p": 0.0}
    random = True
    kinds = ("image", "sequence")
    p: float = knob(0.5, low=0.0, high=1.0, open="high")
    where: Any = option("all")

    def sites(self, net: Any) -> list[Any]:
        return [s for s in hidden_sites(self, net) if self.where not in GENERIC or len(s.shapes[0]) > 1]

    def act(self, x: Tensor, at: At) -> Tensor:
        if at.noise is None:
            return x
        rows = 1 if at.site.kind == "recurrent" and not at.site.module.batch_first else 0
        drawn = (rows, input_axis(at.site, x.dim()))
        return drop(x, self.p, at.noise, tuple(n if d in drawn else 1 for d, n in enumerate(x.shape)))
