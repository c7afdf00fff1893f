from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from ...errors import EquipoiseError
from ...technique import At, Batch, Params, Technique, knob, option
from ._units import hidden_sites


class GaussianNoise(Technique):
    """Additive Gaussian noise on the raw inputs, on hidden activations, or on weights.

    `inputs`: x_j + σ s_j N(0, 1) on the stored values, before the preparation, with s_j = the standard deviation of
    feature j on the fit rows (`unit` = "std") or 1 (`unit` = "data": σ in the data's own units); categories and missing
    values stay as they are. `activations`: x_j + σ N(0, 1), one draw per element of a map's input. `weights`:
    w + σ N(0, 1), one draw per step for all rows, on matrices and kernels. Prediction uses the clean values.

    Knobs: `sigma` = σ ≥ 0; 0 switches it off.
    Options: `on` = "inputs" (default), "activations" or "weights"; `unit` = "std" (default) or "data", for inputs;
        `where` = "all" (default), "dense" or names of affine maps, for activations ("all" and "dense": the maps of
        hidden units) and weights ("all": those that no map reaches too).
    Shapes: raw x (B, …), s per feature, on images per channel; several inputs each by itself, whole numbers (tokens)
        unchanged; site inputs (B, …); weights with two axes or more.
    Errors: `where` for inputs, `unit` for anything else; a `where` that names no site.
    Trade: a variance reducer at the cost of bias; on inputs it is, for small σ and squared error, a penalty
        σ² ‖∂f/∂x‖² on the slope of the learned function.
    Source: Bishop (1995), Training with noise is equivalent to Tikhonov regularization; Graves (2011) for weights;
        decks D1, D3.
    """

    place = ("on", "where")
    off = {"sigma": 0.0}
    random = True
    sigma: float = knob(0.1, low=0.0)
    on: str = option("inputs", choices=("inputs", "activations", "weights"))
    unit: str = option("std", choices=("std", "data"))
    where: Any = option("all")

    def check(self) -> None:
        if self.on == "inputs" and self.where != "all":
            raise EquipoiseError(f"{self!r}: where= names affine maps: leave it out, or set on='activations'.")
        if self.on != "inputs" and self.unit != "std":
            raise EquipoiseError(f"{self!r}: unit= is for on='inputs'; elsewhere sigma is added as it is.")

    def sites(self, net: Any) -> list[Any]:
        return hidden_sites(self, net) if self.on == "activations" else net.select(self.where)

    # --- inputs -------------------------------------------------------------------------------------------------------
    def fit(self, x: Any, y: Tensor, data: Any) -> dict[str, Tensor]:
        if self.on != "inputs":
            return {}
        inputs = dict(enumerate(x if isinstance(x, tuple) else (x,)))
        noisy = {i: v for i, v in inputs.items() if v.is_floating_point() or v.dtype == torch.uint8}
        scales = {i: spread(v) if self.unit == "std" else torch.ones_like(spread(v)) for i, v in noisy.items()}
        columns = getattr(data, "columns", None)  # those of a single table
        if columns is not None:
            scales[0] = scales[0] * torch.tensor([c.kind != "category" for c in columns], device=scales[0].device)
        return {f"scale{i}": s for i, s in scales.items()}

    def batch(self, batch: Batch, at: At) -> Batch:
        if self.on != "inputs":
            return batch
        many = isinstance(batch.x, tuple)
        scales = [at.fitted.get(f"scale{i}") for i in range(len(batch.x) if many else 1)]
        x = [
            v if s is None else self._noisy(v, at, s)
            for v, s in zip(batch.x if many else (batch.x,), scales, strict=True)
        ]
        return batch._replace(x=tuple(x) if many else x[0])

    # --- activations and weights --------------------------------------------------------------------------------------
    def act(self, x: Tensor, at: At) -> Tensor:
        return x if self.on != "activations" or at.noise is None else self._noisy(x, at, 1.0)

    def weights(self, params: Params, at: Callable[[Any], At]) -> Params:
        if self.on != "weights":
            return params
        whole = at(None)
        assert whole.noise is not None
        net = whole.net
        chosen = net.affine_weights if self.where == "all" else {w for s in self.sites(net) for w in s.weights}
        old = {k: w for k, w in params.items() if k in chosen}
        sizes = [w.numel() for w in old.values()]
        z = whole.noise.normal((sum(sizes),), next(iter(old.values())).dtype, shared=True)
        parts = torch.split(z, sizes)
        new = {k: w + self.sigma * part.view(w.shape) for (k, w), part in zip(old.items(), parts, strict=True)}
        return params | new

    def _noisy(self, x: Tensor, at: At, scale: Any) -> Tensor:
        assert at.noise is not None
        return x + (self.sigma * scale) * at.noise.normal(tuple(x.shape), x.dtype)


def spread(v: Tensor) -> Tensor:
    """Standard deviation (1/n) per feature, on images per channel, of what is not missing; broadcasts over examples."""
    v = v.double()
    dims = [0, *range(2, v.dim())] if v.dim() >= 4 else list(range(v.dim() - 1))
    mean = v.nanmean(dims, keepdim=True)
    sd = (v - mean).square().nanmean(dims, keepdim=True).sqrt().nan_to_num(0.0)
    return sd[0] if v.dim() >= 4 else sd.view(-1)
