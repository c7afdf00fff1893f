from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from ...errors import EquipoiseError
from ...technique import At, Params, Technique
from ._draw import draw_weights, shown


class ZeroResidual(Technique):
    """He everywhere, and every residual branch F starts at zero, so that Var(x + F(x)) = Var(x) however deep the net.

    w ~ N(0, 2/fan_in), b = 0; the last affine map of each branch W = 0. Where a normalization ends the branch, its γ
    (and β) is zeroed instead and the map before it keeps He: a zero weight in front of it would get gradients 1/√ε too
    large. Under He alone Var(x + F(x)) = 3 Var(x) for F = W₂ max(0, W₁ x).

    Shapes: every trainable weight of every site; branches as `net.residuals` lists them.
    Errors: no residual branch in the model; a normalization without γ (affine=False) at the end of one.
    Trade: none on bias or variance; each block starts as the identity, so depth alone neither grows signals nor
        gradients.
    Source: Goyal et al. (2017) for γ = 0; Zhang, Dauphin, Ma (2019), Fixup; deck D1.
    """

    slot = "initialization"

    def init(self, params: Params, at: Callable[[Any], At]) -> Params:
        net = at(None).net
        branches = [b for b in net.residuals if b.sites]
        if not branches:
            raise EquipoiseError(f"{self!r} finds no residual addition in this model ({net.describe()}): use He.")
        params = draw_weights(self, params, at, lambda fan_in, fan_out: 2 / fan_in)
        missed = [b.module for b in net.residuals if not b.sites]
        if missed:
            net.note(f"ZeroResidual: {', '.join(missed)} end in no affine map that is called; they keep their start.")
        for branch in branches:
            last = net.sites[max(branch.sites)]
            norm = self._own_norm(net, branch.module, last)
            if norm:
                params = self._zeroed(params, [f"{norm}.weight", f"{norm}.bias"], norm)
            elif last.norm_by is not None:
                params = self._at_our_norm(params, last, at)
            else:
                params = self._zeroed_rows(params, last, torch.ones(last.units), net)
        return params

    def _own_norm(self, net: Any, end: str, last: Any) -> str:
        """The user's own normalization that ends the branch: its last module, or what reads its last affine map."""
        is_norm = "Norm" in type(net.module.get_submodule(end)).__name__
        return end if is_norm else last.normalized_by or ""

    def _zeroed(self, params: Params, names: list[str], norm: str) -> Params:
        if names[0] not in params:
            raise EquipoiseError(
                f"{self!r}: {norm} ends a residual branch and has no trainable γ to start at zero: give it affine=True."
            )
        return {**params, **{n: torch.zeros_like(params[n]) for n in names if n in params}}

    def _at_our_norm(self, params: Params, site: Any, at: Callable[[Any], At]) -> Params:
        """γ = 0 where a unit is normalized, W = 0 where it is not: gates differ by run, units may be chosen."""
        net, layer = at(None).net, site.module.get_submodule("normalization")
        running: dict[str, Any] = {}
        shown(at, params, site.module, lambda _: running.update(net.current.techniques))
        share = running[site.norm_by].w * (torch.ones(site.units) if layer.mask is None else layer.mask.cpu())
        new = dict(params)
        if bool((share > 0).any()):
            names = [f"{site.name}.normalization.{n}" for n in ("weight", "bias")]
            zeroed = self._zeroed(params, names, f"{type(running[site.norm_by]).__name__} at {site.name}")
            new |= {n: torch.where(share.to(zeroed[n].device) > 0, zeroed[n], params[n]) for n in names if n in params}
        return self._zeroed_rows(new, site, share < 1, net) if bool((share < 1).any()) else new

    def _zeroed_rows(self, params: Params, site: Any, rows: Tensor, net: Any) -> Params:
        """W = 0 in the rows of those units; recurrent weights as a whole."""
        names = [n for n in site.weights if n in params]
        if not names:
            net.note(f"ZeroResidual leaves the branch that ends in {site.name} as it is: its weight is frozen.")
        new = dict(params)
        for n in names:
            w = params[n]
            every = torch.ones(len(w)) if site.kind == "recurrent" else rows
            new[n] = torch.where(every.to(w.device).view(-1, *([1] * (w.dim() - 1))) > 0, 0.0, w)
        return new
