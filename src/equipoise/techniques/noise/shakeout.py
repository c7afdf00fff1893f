from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ...technique import At, Technique, knob, option
from ._units import factors, hidden_sites, replaceable


class Shakeout(Technique):
    """Enhance or reverse each unit's contribution to the next layer, at random.

    r_j = 0 with probability τ, else 1/(1 − τ), per input unit and example: z = W (r ⊙ x) + c·sgn(W) ((r − 1) ⊙ x) + b.
    So W̃ = −c·sgn W with probability τ, else (W + cτ·sgn W)/(1 − τ); E[W̃] = W, Var[W̃] = τ/(1 − τ) (|W| + c)².
    The gradient of sgn W is taken as κ(1 − tanh² κW). Prediction uses W. With c = 0 it is inverted dropout.

    Knobs: `tau` = τ in [0, 1), 0 switches it off; `c` ≥ 0, the strength of the reversal; `kappa` = κ ≥ 0, with 0 sgn W
        has no gradient.
    Options: `where` = "dense" (default: Linear maps of hidden units), "all" (convolutions too), or names, which may
        read the network's input.
    Shapes: x (B, …, F) of a Linear, (B, C, …) of a convolution; one r per element of x. Costs a second affine map.
    Errors: a `where` that names no site, or a recurrent one; a map that another technique replaces.
    Trade: a variance reducer like dropout at the cost of bias; with c its penalty joins L0, L1 and L2 terms, so that
        small weights gather at 0.
    Source: Kang, Li and Tao (2016), Shakeout; deck D2.
    """

    place = ("where",)
    off = {"tau": 0.0}
    random = True
    tau: float = knob(0.5, low=0.0, high=1.0, open="high")
    c: float = knob(0.5, low=0.0)
    kappa: float = knob(1.0, low=0.0)
    where: Any = option("dense")

    def sites(self, net: Any) -> list[Any]:
        return replaceable(self, hidden_sites(self, net, ("linear", "conv")))

    def affine(self, x: Tensor, w: Tensor, b: Tensor | None, at: At) -> Tensor:
        if at.noise is None:
            return at.site.affine(x, w, b)
        r = factors(x, self.tau, at.noise)
        kept, shifted = (x * r).to(x.dtype), (x * (r - 1)).to(x.dtype)
        return at.site.affine(kept, w, b) + at.site.affine(shifted, self.c * self._sign(w), None)

    def _sign(self, w: Tensor) -> Tensor:
        """sgn W, exactly, with the gradient of tanh(κW)."""
        smooth = torch.tanh(self.kappa * w)
        return torch.sign(w).detach() + (smooth - smooth.detach())
