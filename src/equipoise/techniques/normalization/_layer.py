"""What all normalizations share: the layer at a site, its gate, its chosen units, and folding it away."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from ...errors import EquipoiseError
from ...sites.fold import keep_layer


class Layer(nn.Module):
    """A normalization at one site. Subclasses give `normalized`; where it is affine in prediction also `as_affine`."""

    mask: Tensor | None

    def __init__(self, t: Any, site: Any) -> None:
        super().__init__()
        self.channel = site.channel
        self.cancels_bias = True  # a shift of z per unit leaves the output unchanged
        mask = None
        if t.units is not None:
            if max(t.units) >= site.units or min(t.units) < 0:
                raise EquipoiseError(f"{t!r}: {site.name} has units 0 to {site.units - 1}; choose among them.")
            mask = torch.zeros(site.units)
            mask[list(t.units)] = 1.0
        self.register_buffer("mask", mask, persistent=False)

    def view(self, v: Tensor | None, z: Tensor) -> Tensor:
        assert v is not None
        axis = self.channel % z.dim()
        return v.view(*(-1 if d == axis else 1 for d in range(z.dim())))

    def normalized(self, z: Tensor) -> Tensor:
        raise NotImplementedError

    def as_affine(self) -> tuple[Tensor, Tensor] | None:
        """(scale, shift) per unit in prediction, float64; None where it depends on the example."""
        return None

    def share(self, t: Any, z: Tensor | None = None) -> Any:
        """How much of each unit is normalized: w on the chosen units, 0 elsewhere; the plain 1.0 where all is."""
        if self.mask is None:
            return t.w
        return t.w * (self.mask if z is None else self.view(self.mask, z))

    def gated(self, z: Tensor, t: Any) -> Tensor:
        """w·ẑ + (1 − w)·z."""
        share, out = self.share(t, z), self.normalized(z)
        return out if isinstance(share, float) and share == 1.0 else (share * out + (1 - share) * z).to(z.dtype)

    def bias_share(self, t: Any, b: Tensor) -> Tensor:
        """The site's bias as it enters: (1 − w)·b where the normalization cancels it."""
        if not self.cancels_bias:
            return b
        share = self.share(t)
        return b.detach() * 0 if isinstance(share, float) and share == 1.0 else ((1 - share) * b).to(b.dtype)

    def forward(self, z: Tensor) -> Tensor:
        """As a layer kept in the plain model: fully on."""
        out = self.normalized(z)
        return out if self.mask is None else torch.where(self.view(self.mask, z) > 0, out, z)


def place_layers(t: Any, net: Any, make: Callable[[Any], Layer]) -> None:
    """Put a layer on every chosen site: not on the output, nor where the user's own layer already normalizes."""
    explicit = t.where not in ("all", "dense")
    taken = [s.name for s in net.select(t.where, ("linear", "conv")) if s.normalized_by or s.norm_by]
    chosen = [
        s for s in net.select(t.where, ("linear", "conv")) if (explicit or not s.is_output) and s.name not in taken
    ]
    if taken and explicit:
        raise EquipoiseError(
            f"{t!r}: {taken[0]} is normalized already: a site holds one normalization. Leave it out of where=."
        )
    if taken:
        net.note(
            f"{type(t).__name__} leaves {len(taken)} site{'s' * (len(taken) > 1)} alone that the model normalizes itself: {', '.join(taken[:3])}."
        )
    if not chosen:
        raise EquipoiseError(
            f"{t!r} finds no site to normalize ({net.describe()}; the output and normalized maps are left alone): leave it out."
        )
    for s in chosen:
        net.normalize(s, t, make(s))


def fold_layers(t: Any, plain: nn.Module, net: Any, tensors: Mapping[str, Tensor]) -> list[str]:
    """Fold each layer into its affine map where that is exact; keep it otherwise, and say so."""
    notes = []
    if t.w == 0:
        return notes
    for s in net.sites:
        if s.norm_by != t.key:
            continue
        layer = _with_values(s, tensors)
        form = layer.as_affine()
        shared = any(set(o.weights) & set(s.weights) for o in net.sites if o is not s)
        why = (
            "it depends on the example" if form is None else "the affine map has no bias" if s.bias is None
            else "the affine map is called more than once" if s.calls > 1 else "its weights are tied" if shared else ""
        )  # fmt: skip
        module: Any = plain.get_submodule(s.name)
        if not why and form is not None:
            share = (layer.mask.double() if layer.mask is not None else 1.0) * t.w
            scale, shift = share * form[0] + (1 - share), share * form[1]
            b = module.bias.double() * (1 - share)
            w = module.weight
            w.data.copy_(w.double() * scale.view(-1, *([1] * (w.dim() - 1))))
            module.bias.data.copy_(b * scale + shift)
        elif t.w == 1:
            keep_layer(plain, s.name, layer)
            notes.append(f"{type(t).__name__} at {s.name} is kept as a layer: {why}.")
        else:
            raise EquipoiseError(f"{t!r} at {s.name} cannot be exported with a gate between 0 and 1: {why}.")
    return notes


def _with_values(site: Any, tensors: Mapping[str, Tensor]) -> Layer:
    layer = copy.deepcopy(site.module._modules["normalization"])
    prefix = f"{site.name}.normalization."
    with torch.no_grad():
        for n, p in [*layer.named_parameters(), *layer.named_buffers()]:
            if prefix + n in tensors:
                p.data = tensors[prefix + n].detach().clone()
    return layer.eval()
