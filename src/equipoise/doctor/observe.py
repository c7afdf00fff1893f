"""One forward pass, layer by layer: temporary hooks on the copy of the model, nothing left behind."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from ..probe import Layer
from ..sites import Network, Site
from ..sites.adopt import BATCH_NORMS, NORMS
from ..technique import Params, Technique

_KINDS: dict[str, tuple[Any, ...]] = {
    "relu": (F.relu, F.relu_, torch.relu, torch.relu_, Tensor.relu, Tensor.relu_),
    "tanh": (F.tanh, torch.tanh, torch.tanh_, Tensor.tanh, Tensor.tanh_),
    "sigmoid": (F.sigmoid, torch.sigmoid, torch.sigmoid_, Tensor.sigmoid, Tensor.sigmoid_),
    "other": (F.leaky_relu, F.elu, F.gelu, F.silu, F.selu, F.softplus, F.hardswish, F.mish, F.relu6),
}
ACTIVATIONS = {f: kind for kind, functions in _KINDS.items() for f in functions}
_ADDS = (torch.add, Tensor.add, Tensor.add_, Tensor.__add__, Tensor.__radd__, Tensor.__iadd__)


@dataclass
class Seen:
    """What one pass showed. Tensors are kept so that their identities stay unique. ``copies``: of what is noted; else
    the tensors themselves, which a network that writes in place may change behind our back: `changed` tells."""

    copies: bool = True
    inputs: dict[str, Tensor] = field(default_factory=dict)
    outputs: dict[str, Tensor] = field(default_factory=dict)
    activations: dict[str, tuple[str, Tensor]] = field(default_factory=dict)
    maker: dict[int, str] = field(default_factory=dict)  # id of a tensor → the site it comes from
    normed: dict[str, Tensor] = field(default_factory=dict)  # own batch norm → its input (rows, channels)
    kept: list[Any] = field(default_factory=list)
    versions: list[tuple[Tensor, int]] = field(default_factory=list)  # of what is noted and not copied
    result: Any = None  # of what was run

    def noted(self, v: Tensor) -> Tensor:
        v = v.detach()
        if self.copies:
            return v.clone()
        self.versions.append((v, v._version))
        return v

    @property
    def changed(self) -> bool:
        """Was something that was noted written to afterwards?"""
        return any(v._version != was for v, was in self.versions)

    def follows(self, source: Any, result: Any) -> None:
        """``result`` is still the output of the site that made ``source``."""
        if isinstance(source, Tensor) and id(source) in self.maker and isinstance(result, Tensor):
            self.maker[id(result)] = self.maker[id(source)]
            self.kept.append(result)


class _Watch(TorchFunctionMode):
    """Notes which activation a site's output goes into, behind normalizations and residual additions. ``keep``: site →
    a factor for each of its units, by which that activation is multiplied."""

    def __init__(self, seen: Seen, keep: Mapping[str, tuple[Site, Tensor]]) -> None:
        super().__init__()
        self._seen, self._keep = seen, keep

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        kind = ACTIVATIONS.get(func)
        if kind is not None and args:
            site = self._seen.maker.get(id(args[0]))
            if site is not None and site in self._keep:
                out = out * _in_place(out, *self._keep[site])
            if site is not None and site not in self._seen.activations:
                self._seen.activations[site] = (kind, self._seen.noted(out))
            self._seen.kept.append(out)
        elif func in _ADDS:
            for a in args[:2]:
                self._seen.follows(a, out)
        return out


@contextmanager
def untouched(net: Network) -> Iterator[None]:
    """Everything a pass may move on the network is put back: training mode by module, hooks, torch's random numbers."""
    modes = [(m, m.training) for m in net.module.modules()]
    try:
        with torch.random.fork_rng(devices=[]):
            yield
    finally:
        for m, training in modes:
            m.training = training


def observe(
    net: Network, forward: Callable[[], Any], keep: Mapping[str, Tensor] | None = None, copies: bool = True
) -> Seen:
    """Run ``forward`` (a pass through ``net``) and note every site's first input and output, and its activation.
    ``keep``: site → 1 or 0 for each of its units; the activations of those with 0 are taken out."""
    seen, handles = Seen(copies), []
    factors = {s.name: (s, keep[s.name]) for s in net.sites if keep and s.name in keep}

    def at_site(site: Site) -> Any:
        def hook(_: nn.Module, args: Any, out: Any) -> None:
            first = out[0] if isinstance(out, tuple) else out
            seen.kept.append((args, first))
            if site.name not in seen.outputs:
                seen.inputs[site.name] = seen.noted(args[0])
                seen.outputs[site.name] = seen.noted(first)
            seen.maker[id(first)] = site.name

        return hook

    def at_norm(name: str) -> Any:
        def hook(m: nn.Module, args: Any, out: Any) -> None:
            seen.kept.append(args)
            seen.follows(args[0], out)
            if isinstance(m, BATCH_NORMS) and name not in seen.normed:
                seen.normed[name] = seen.noted(args[0]).movedim(1, -1).flatten(0, -2)

        return hook

    for site in net.sites:
        handles.append(site.module.register_forward_hook(at_site(site)))
    for name, m in net.module.named_modules():
        if isinstance(m, (*NORMS, *BATCH_NORMS)):
            handles.append(m.register_forward_hook(at_norm(name)))
    try:
        with untouched(net), _Watch(seen, factors):
            seen.result = forward()
    finally:
        for h in handles:
            h.remove()
    return seen


def layers(net: Network, seen: Seen, units_last: bool = True) -> tuple[Layer, ...]:
    """The layers of a pass, in execution order; their outputs as they came where it does not matter what is last."""
    branches = [r.sites for r in net.residuals if r.sites]
    ends, inside = {max(b) for b in branches}, {i for b in branches for i in b}
    found = []
    for site in net.sites:
        if site.name in seen.outputs:
            kind, a = seen.activations.get(site.name, ("", seen.outputs[site.name]))
            z, a = (_units_last(v, site) if units_last else v for v in (seen.outputs[site.name], a))
            weight = site.weights[0] if site.weights else ""
            place = site.index in ends, site.index in inside
            found.append(Layer(site.name, seen.inputs[site.name], z, a, kind, weight, site.is_output, *place))
    return tuple(found)


def norms(net: Network, techniques: dict[str, Technique], params: Params, seen: Seen) -> dict[str, Tensor]:
    """What each batch norm is shown in a pass, the user's own and those of techniques, by the prefix of its buffers."""
    found = dict(seen.normed)
    for site in net.sites:
        if site.norm_by is None or type(techniques[site.norm_by]).__name__ != "BatchNorm" or site.affine_by is not None:
            continue
        w, b = params.get(site.weights[0]), params.get(site.bias) if site.bias else None
        if w is not None and float(techniques[site.norm_by].knobs()["w"]) > 0 and site.name in seen.inputs:
            found[f"{site.name}.normalization"] = _units_last(site.affine(seen.inputs[site.name], w, b), site)
    return found


def _units_last(v: Tensor, site: Site) -> Tensor:
    return v.movedim(site.channel % v.dim(), -1).flatten(0, -2)


def _in_place(v: Tensor, site: Site, units: Tensor) -> Tensor:
    """One number per unit, shaped to multiply ``v``."""
    shape = [1] * v.dim()
    shape[site.channel % v.dim()] = -1
    return units.to(v).view(shape)
