from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from ...technique import At, Technique, knob, option
from ._gaussian import gaussian
from ._units import GENERIC, owners, replaceable, scale_inputs

PART = 1 << 15  # weights of one example that are masked at a time: bounds the memory of drawing; part of the noise


class DropConnect(Technique):
    """Drop connections: one Bernoulli per weight and example.

    z = (M ∘ W) x + b, M ~ Bernoulli(1 − p). `inverted`: z = (M ∘ W) x/(1 − p) + b in training, W x + b in prediction;
    `at_test`: no division in training, (1 − p) W x + b in prediction (folded into W on export). With `test` = "moment"
    a Monte-Carlo sample of a prediction draws z ~ N(E z, Var z) at each map instead of masks, the paper's inference:
    Var z = p/(1 − p) (W ∘ W)(x ∘ x), `at_test` p(1 − p) (W ∘ W)(x ∘ x). Prediction without sampling is the mean rule.

    Knobs: `p` = probability to drop, in [0, 1); 0 switches it off.
    Options: `per` = "example" (default) or "batch" (one mask for all rows); `biases` = drop biases too, as the paper
        does; `scaling` = "inverted" or "at_test"; `test` = "mean" or "moment"; `where` = "dense" (default: every Linear
        map but the output's, as in the paper), "all" (convolutions too), or names.
    Shapes: x (B, …, F) of a Linear, (B, C, …) of a convolution; M (B, *W.shape), one mask for all positions of an
        example. Training holds 5 bytes per element of M; `per` = "batch" costs next to nothing.
    Errors: a `where` that names no site, or a recurrent one; a map that another technique replaces.
    Trade: a variance reducer, finer than dropout (each output unit sees other inputs), at the cost of bias and of
        slower steps.
    Source: Wan et al. (2013), Regularization of neural networks using DropConnect; decks D1, D2, D3.
    """

    place = ("where",)
    off = {"p": 0.0}
    random = True
    p: float = knob(0.5, low=0.0, high=1.0, open="high")
    per: str = option("example", choices=("example", "batch"))
    biases: bool = option(False, choices=(False, True))
    scaling: str = option("inverted", choices=("inverted", "at_test"))
    test: str = option("mean", choices=("mean", "moment"))
    where: Any = option("dense")

    def sites(self, net: Any) -> list[Any]:
        found = net.select(self.where, ("linear", "conv"))
        return replaceable(self, [s for s in found if self.where not in GENERIC or not s.is_output])

    def affine(self, x: Tensor, w: Tensor, b: Tensor | None, at: At) -> Tensor:
        if at.noise is None:
            return self._mean(x, w, b, at)
        if self.test == "moment" and not at.training:
            return self._moment(x, w, b, at)
        if self.per == "batch":
            masked = self._masked(w, (), at)
            return at.site.affine(x, masked, self._masked(b, (), at) if self.biases and b is not None else b)
        off: Any = self.p == 0  # then W x + b bit for bit, which sums in another order than one product per row
        return torch.where(off, at.site.affine(x, w, b), self._per_example(x, w, b, at))

    def _per_example(self, x: Tensor, w: Tensor, b: Tensor | None, at: At) -> Tensor:
        """Every row with a mask of its own; some of the outputs at a time, so that drawing needs little memory."""
        rows, site = (x.shape[0],), at.site
        one_group = getattr(site.module, "groups", 1) == 1
        size = max(1, PART // math.prod(w.shape[1:])) if one_group else len(w)
        parts = [_row_by_row(site, x, self._masked(v, rows, at)) for v in w.split(size)]
        z = parts[0] if len(parts) == 1 else torch.cat(parts, site.channel)
        if b is None:
            return z
        return z + (_over(site, self._masked(b, rows, at), z) if self.biases else site.broadcast(b, z))

    def _masked(self, v: Tensor, rows: tuple[int, ...], at: At) -> Tensor:
        """M ∘ v, over 1 − p where inverted: (*rows, *v.shape)."""
        assert at.noise is not None
        keep = at.noise.bernoulli((*rows, *v.shape), 1 - self.p, shared=not rows)
        return (v / (1 - self.p) if self.scaling == "inverted" else v) * keep

    def _mean(self, x: Tensor, w: Tensor, b: Tensor | None, at: At) -> Tensor:
        if self.scaling == "inverted":
            return at.site.affine(x, w, b)
        return at.site.affine(x, (1 - self.p) * w, (1 - self.p) * b if self.biases and b is not None else b)

    def _moment(self, x: Tensor, w: Tensor, b: Tensor | None, at: At) -> Tensor:
        assert at.noise is not None
        squares = at.site.affine(x * x, w * w, b * b if self.biases and b is not None else None)
        factor = self.p / (1 - self.p) if self.scaling == "inverted" else self.p * (1 - self.p)
        return gaussian(self._mean(x, w, b, at), factor * squares, at.noise)

    def fold(self, plain: Any, net: Any, tensors: Mapping[str, Tensor]) -> list[str]:
        if self.scaling == "inverted":
            return []
        return [note for s in self.sites(net) for note in self._fold_site(plain, s)]

    def _fold_site(self, plain: Any, site: Any) -> list[str]:
        module, keep = plain.get_submodule(site.name), torch.tensor(1 - self.p, dtype=torch.float64)
        if self.biases and module.bias is not None:
            if owners(plain, module.bias) > 1:
                module.register_forward_hook(ScaleOutput(keep))
                return [f"the expected DropConnect at {site.name} is kept as a scaling hook: its bias is tied."]
            module.bias.data.copy_(module.bias.data.double() * keep)
        return scale_inputs(plain, site, keep)


def _row_by_row(site: Any, x: Tensor, w: Tensor) -> Tensor:
    """Row i of x through the weights w[i], without bias."""
    if site.kind == "linear":
        return torch.einsum("b...i,boi->b...o", x, w)
    return torch.vmap(lambda xi, wi: site.affine(xi[None], wi, None)[0])(x, w)


def _over(site: Any, b: Tensor, z: Tensor) -> Tensor:
    """Biases (B, units) in the shape that broadcasts over z (B, …)."""
    axis = site.channel % z.dim()
    return b.view(b.shape[0], *(-1 if d == axis else 1 for d in range(1, z.dim())))


class ScaleOutput:
    """A forward hook that multiplies the output by a fixed factor ()."""

    def __init__(self, factor: Tensor) -> None:
        self.factor = factor

    def __call__(self, module: Any, args: tuple[Any, ...], z: Tensor) -> Tensor:
        return z * self.factor.to(z)
