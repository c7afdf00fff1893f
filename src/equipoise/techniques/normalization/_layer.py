"""What all normalizations share: the layer at a site, its gate, its chosen units, and the way back to a plain model."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from ...errors import EquipoiseError


class Layer(nn.Module):
    """A normalization at one site. Subclasses give `normalized`; where it is affine in prediction also `as_affine`."""

    mask: Tensor | None
    cancels_bias = False  # a shift of z per unit leaves ẑ unchanged

    def __init__(self, t: Any, site: Any) -> None:
        super().__init__()
        self.channel = site.channel
        self.kept_share = 1.0  # the gate, as a layer kept in the plain model
        mask = None
        if t.units is not None:
            if max(t.units) >= site.units:
                raise EquipoiseError(f"{t!r}: {site.name} has units 0 to {site.units - 1}; choose among them.")
            mask = torch.zeros(site.units)
            mask[list(t.units)] = 1.0
        self.register_buffer("mask", mask, persistent=False)

    def learn(self, units: int, *, scale: bool, shift: bool) -> None:
        """γ = 1 and β = 0 per unit, those that are learned."""
        self.weight = nn.Parameter(torch.ones(units)) if scale else None
        self.bias = nn.Parameter(torch.zeros(units)) if shift else None

    def view(self, v: Tensor, z: Tensor) -> Tensor:
        """A vector per unit in the shape that broadcasts over z."""
        axis = self.channel % z.dim()
        return v.view(*(-1 if d == axis else 1 for d in range(z.dim())))

    def normalized(self, z: Tensor) -> Tensor:
        """ẑ, in the shape of z."""
        raise NotImplementedError

    def as_affine(self) -> tuple[Tensor, Tensor] | None:
        """(scale, shift) per unit in prediction, float64; None where they depend on the example."""
        return None

    def share(self, w: Any, z: Tensor | None = None) -> Any:
        """How much of each unit is normalized: w on the chosen units, 0 elsewhere; w itself where all are chosen."""
        if self.mask is None:
            return w
        return w * (self.mask if z is None else self.view(self.mask, z))

    def gated(self, z: Tensor, t: Any) -> Tensor:
        """w·ẑ + (1 − w)·z."""
        return self._mixed(z, t.w)

    def _mixed(self, z: Tensor, w: Any) -> Tensor:
        share, out = self.share(w, z), self.normalized(z)
        fully = isinstance(share, float) and share == 1.0
        return (out if fully else share * out + (1 - share) * z).to(z.dtype)

    def bias_share(self, t: Any, b: Tensor) -> Tensor:
        """The site's bias as it enters: (1 − w)·b where the normalization cancels it."""
        if not self.cancels_bias:
            return b
        share = self.share(t.w)
        return b.detach() * 0 if isinstance(share, float) and share == 1.0 else ((1 - share) * b).to(b.dtype)

    def forward(self, z: Tensor) -> Tensor:
        """As a layer kept in the plain model."""
        return self._mixed(z, self.kept_share)


def check_units(t: Any) -> None:
    """`units` is None or lists different unit numbers from 0."""
    if t.units is None:
        return
    numbers = isinstance(t.units, tuple) and all(type(u) is int and u >= 0 for u in t.units)
    if not numbers or not t.units or len(set(t.units)) < len(t.units):
        raise EquipoiseError(f"{t!r}: units lists different unit numbers from 0, as units=(0, 3), or is None for all.")


def check_epsilon(t: Any) -> None:
    """`epsilon` is a positive number: without it a constant unit divides by zero."""
    if isinstance(t.epsilon, bool) or not isinstance(t.epsilon, int | float) or not 0 < t.epsilon < float("inf"):
        raise EquipoiseError(f"{t!r}: epsilon is a positive number, default {type(t).epsilon:g}.")


def check_momentum(t: Any) -> None:
    """`momentum`, the weight of the newest batch in the running averages, lies in (0, 1]."""
    if isinstance(t.momentum, bool) or not isinstance(t.momentum, int | float) or not 0 < t.momentum <= 1:
        raise EquipoiseError(f"{t!r}: momentum, the weight of the newest batch, lies in (0, 1]; default 0.1.")


def place_layers(t: Any, net: Any, make: Callable[[Any], Layer], fits: Callable[[Any], str] = lambda _: "") -> None:
    """Put a layer on every chosen site: not on the output, nor where the user's own layer normalizes already.

    ``fits(site)`` says why this normalization cannot work there, or nothing.
    """
    named = t.where not in ("all", "dense")
    chosen, left = [], dict[str, list[str]]()
    for site in net.select(t.where, ("linear", "conv")):
        if site.is_output and not named:
            continue
        why = "a recurrent module has no affine map of its own to normalize" if site.kind == "recurrent" else ""
        why = why or ("the model normalizes it itself" if site.normalized_by else "") or fits(site)
        if why and named:
            raise EquipoiseError(f"{t!r} at {site.name}: {why}. Leave it out of where=.")
        if why:
            left.setdefault(why, []).append(site.name)
        else:
            chosen.append(site)
    for why, names in left.items():
        some = ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
        net.note(f"{type(t).__name__} leaves {some} alone: {why}.")
    if not chosen:
        why = "; ".join(left) or f"{net.describe()}, and the output is left alone"
        raise EquipoiseError(f"{t!r} finds no site to normalize ({why}): leave it out, or choose others with where=.")
    for site in chosen:
        net.normalize(site, t, make(site))


# --- the way back -----------------------------------------------------------------------------------------------------
def fold_layers(t: Any, plain: nn.Module, net: Any, tensors: Mapping[str, Tensor]) -> list[str]:
    """Fold each layer into its affine map where that is exact; keep it otherwise, and say so.

    In prediction y = s(a z + c) + (1 − s) z with the share s = w on the normalized units and z = W x + b′, where b′ is
    the bias as it enters. So W ← S W, b ← S b′ + s c with S = s a + 1 − s.
    """
    notes: list[str] = []
    if t.w == 0:
        return notes
    for site in (s for s in net.sites if s.norm_by == t.key):
        layer, module = _with_values(site, tensors), plain.get_submodule(site.name)
        entering = _entering_bias(t, net, site, layer, module)
        form, why = layer.as_affine(), _obstacle(net, site)
        if form is None or why:
            if entering is not None:
                module.bias.data.copy_(entering)  # type: ignore[union-attr,operator]
            keep_layer(plain, site.name, layer, t.w)
            notes.append(f"{type(t).__name__} at {site.name} is kept as a layer: {why or 'it depends on the example'}.")
        else:
            assert entering is not None
            _absorb(module, entering, layer.share(t.w), *form)
    return notes


def _absorb(module: Any, entering: Tensor, share: Any, a: Tensor, c: Tensor) -> None:
    scale = share * a + (1 - share)
    w = module.weight
    w.data.copy_(w.double() * scale.view(-1, *([1] * (w.dim() - 1))))
    module.bias.data.copy_(entering * scale + share * c)


def _entering_bias(t: Any, net: Any, site: Any, layer: Layer, module: Any) -> Tensor | None:
    """The bias as it entered in training, float64: `Network.held` takes away what the normalization cancels."""
    if module.bias is None:
        return None
    b = module.bias.detach().double()
    own = all(o is site or o.bias != site.bias for o in net.sites)
    held = layer.cancels_bias and own and site.bias in net.trainable()
    return b * (1 - layer.share(t.w)) if held else b


def _obstacle(net: Any, site: Any) -> str:
    """Why the affine map of a site cannot take a normalization in, or nothing."""
    mine = {*site.weights, site.bias} - {None}
    if site.bias is None:
        return "the affine map has no bias"
    if site.calls > 1:
        return "the affine map is called more than once"
    if any(mine & {*o.weights, o.bias} for o in net.sites if o is not site):
        return "its weights are tied"
    return "" if mine <= set(net.trainable()) else "its weights are frozen"


def _with_values(site: Any, tensors: Mapping[str, Tensor]) -> Layer:
    """The site's layer with the run's own tensors, in float64 where it folds."""
    layer = copy.deepcopy(site.module._modules["normalization"])
    prefix = f"{site.name}.normalization."
    with torch.no_grad():
        for n, p in [*layer.named_parameters(), *layer.named_buffers()]:
            if prefix + n in tensors:
                p.data = tensors[prefix + n].detach().clone()
    return layer.eval()


def keep_layer(plain: nn.Module, name: str, layer: Layer, w: float) -> None:
    """Keep a normalization in the user's model: a child of the affine module, applied to its output by a hook."""
    layer.kept_share = float(w)
    module = plain.get_submodule(name)
    module.add_module("normalization", layer)
    module.register_forward_hook(_apply_kept, prepend=True)  # before whatever else acts on the module's output


def _apply_kept(module: Any, _: Any, out: Tensor) -> Tensor:
    return module.normalization(out)
