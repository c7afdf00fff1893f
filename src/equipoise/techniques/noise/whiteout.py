from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ...technique import At, Technique, knob, option
from ._gaussian import gaussian
from ._units import hidden_sites, replaceable


class Whiteout(Technique):
    """Gaussian noise on every connection, the larger the smaller its weight.

    `additive`: x_j + e_jk, e_jk ~ N(0, σ²|w_jk|^−γ + λ); `multiplicative`: x_j ε_jk, ε_jk ~ N(1, the same variance).
    Summed over j this is exactly z_k + √V_k · N(0, 1), V_k = Σ_j [x_j²] (σ²|w_jk|^(2−γ) + λ w_jk²), the factor x_j² for
    `multiplicative` alone: one draw per output and example. Gradients go through V_k too, so they are those of the
    expected loss; for squared error ½(z − y)² of a linear model that is the loss plus ½ V: the lasso at λ = 0, γ = 1,
    ridge at σ² = 0, the elastic net with both. Prediction uses W.

    Knobs: `sigma2` = σ² ≥ 0; `lam` = λ ≥ 0; both 0 switch it off; `gamma` = γ in (0, 2). At |w| = 1 and σ² = λ
        `multiplicative` noise is as strong as dropout with p = 2σ²/(1 + 2σ²): the default ½ as p = ½.
    Options: `kind` = "additive" or "multiplicative"; `where` = "dense" (default: Linear maps of hidden units), "all"
        (convolutions too), or names, which may read the network's input.
    Shapes: x (B, …, F) of a Linear, (B, C, …) of a convolution, N(0, 1) in the shape of z. The padding of a convolution
        carries no noise. Costs a second affine map (`additive`: of one example).
    Errors: a `where` that names no site, or a recurrent one; a map that another technique replaces.
    Trade: a variance reducer at the cost of bias; γ > 0 spares large weights and presses small ones towards 0; made for
        small training sets.
    Source: Li and Liu (2016), Whiteout; deck D2.
    """

    place = ("where",)
    off = {"sigma2": 0.0, "lam": 0.0}
    random = True
    sigma2: float = knob(0.5, low=0.0)
    lam: float = knob(0.5, low=0.0)
    gamma: float = knob(1.0, low=0.0, high=2.0, open="both")
    kind: str = option("additive", choices=("additive", "multiplicative"))
    where: Any = option("dense")

    def sites(self, net: Any) -> list[Any]:
        return replaceable(self, hidden_sites(self, net, ("linear", "conv")))

    def affine(self, x: Tensor, w: Tensor, b: Tensor | None, at: At) -> Tensor:
        z = at.site.affine(x, w, b)
        if at.noise is None:
            return z
        squares = x * x if self.kind == "multiplicative" else torch.ones_like(x[:1])
        return gaussian(z, at.site.affine(squares, self._variances(w), None), at.noise)

    def _variances(self, w: Tensor) -> Tensor:
        """σ²|w|^(2−γ) + λw² per connection; 0, with gradient 0, where w = 0 (a power's own gradient is NaN there)."""
        there = w != 0
        size = torch.where(there, w.abs(), 1.0)
        power = torch.where(there, size ** (2 - self.gamma), 0.0)
        return (self.sigma2 * power + self.lam * w * w).to(w.dtype)
