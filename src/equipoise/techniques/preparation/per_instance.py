from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from ...errors import EquipoiseError
from ...technique import Technique, option
from ._numbers import each, wanted


class PerInstance(Technique):
    """Standardize, or map to [0, 1], every instance by its own statistics; nothing is learned from other rows.

    kind = "standardize": x′ = (x − μ_x)/σ_x; kind = "minmax": x′ = (x − min x)/(max x − min x). The statistics (1/n)
    are those of the one instance: over all of its values, or, with over = "channel", of each channel (of a sequence:
    each feature) over its positions. An instance whose values are all equal gets the divisor 1 and becomes 0. Several
    inputs are treated one by one; inputs of whole numbers (tokens) pass unchanged, bytes of images are numbers.

    Options: `kind` = "standardize" (default) or "minmax"; `over` = "all" (default) or "channel".
    Shapes: any (B, …); over = "channel" needs positions: (B, C, H, W) or (B, T, F).
    Errors: refused for data that are tokens alone; over = "channel" for rows without positions.
    Trade: adds bias where the level or contrast of an instance means something, for it is gone; removes the variance
        that inconsistent ranges of instances bring. On a table it mixes the units of the columns.
    Source: Coates, Ng, Lee (2011), per-patch normalization; deck D3.
    """

    slot = "inputs"
    kind: str = option("standardize", choices=("standardize", "minmax"))
    over: str = option("all", choices=("all", "channel"))

    def prepare(self, x: Any, fitted: Mapping[str, Tensor]) -> Any:
        wanted(self, x)
        return each(x, lambda _, v: self._one(v if v.is_floating_point() else v.float()))

    def _one(self, v: Tensor) -> Tensor:
        dims = self._axes(v)
        a, b = v.amin(dims, keepdim=True), v.amax(dims, keepdim=True)
        if self.kind == "minmax":
            return (v - a) / torch.where(b > a, b - a, 1.0)
        var, μ = torch.var_mean(v, dims, correction=0, keepdim=True)
        σ = var.sqrt()
        return (v - μ) / torch.where((b > a) & (σ > 0), σ, 1.0)  # b = a: a compiled σ may be rounding

    def _axes(self, v: Tensor) -> list[int]:
        if self.over == "all":
            return list(range(1, v.dim()))
        if v.dim() < 3:
            raise EquipoiseError(
                f"{self!r}: a row of shape {tuple(v.shape[1:])} has no positions to average over: use over='all'."
            )
        return [1] if v.dim() == 3 else list(range(2, v.dim()))
