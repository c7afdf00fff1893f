"""What noise on units and connections shares: sites, units, dropping, and expected factors folded into weights."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

from ...errors import EquipoiseError
from ...rng import Noise

GENERIC = ("all", "dense")  # values of `where` that name no site


def factors(x: Tensor, p: Any, noise: Noise, shape: tuple[int, ...] | None = None) -> Tensor:
    """r = 0 with probability p, else 1/(1 − p): one per element of x, or of ``shape``; in float32 or x's finer dtype.

    Rounded to bfloat16, 1/(1 − p) would bias every unit.
    """
    keep = noise.bernoulli(tuple(x.shape) if shape is None else shape, 1 - p)
    return keep * (1 / (1 - p)).to(torch.promote_types(x.dtype, torch.float32))


def drop(x: Tensor, p: Any, noise: Noise, shape: tuple[int, ...] | None = None) -> Tensor:
    """r ⊙ x; at p = 0 it is x, bit for bit. A product costs a fourth of choosing between x/(1 − p) and 0 (CPU)."""
    return (x * factors(x, p, noise, shape)).to(x.dtype)


def hidden_sites(t: Any, net: Any, kinds: Iterable[str] = ("linear", "conv", "recurrent")) -> list[Any]:
    """The sites of ``t.where``; "all" and "dense" leave out those that read the network's input."""
    found = net.select(t.where, kinds)
    return found if t.where not in GENERIC else [s for s in found if not s.reads_input]


def replaceable(t: Any, sites: list[Any]) -> list[Any]:
    """Sites whose affine map can be replaced from outside: no recurrent ones."""
    inside = next((s.name for s in sites if s.kind == "recurrent"), None)
    if inside is not None:
        raise EquipoiseError(
            f"{t!r}: {inside} is recurrent, its connections are out of reach; name Linear or Conv maps, or use Zoneout."
        )
    return sites


def input_axis(site: Any, dims: int) -> int:
    """The axis of units in a site's input (B, …) of ``dims`` axes."""
    return 1 if site.kind == "conv" else dims - 1


def input_width(site: Any) -> int:
    """How many input units a site has: features or channels."""
    return site.shapes[0][0 if site.kind == "conv" else -1]


def check_units(t: Any) -> None:
    """``units`` is None or a list of different whole numbers from 0."""
    if t.units is None:
        return
    fine = isinstance(t.units, tuple) and t.units and all(type(u) is int and u >= 0 for u in t.units)
    if not fine or len(set(t.units)) < len(t.units):
        raise EquipoiseError(
            f"{t!r}: units is a list of different unit numbers from 0, such as (0, 3), or None for all."
        )


# --- the way back to the plain model ----------------------------------------------------------------------------------
def scale_inputs(plain: nn.Module, site: Any, factor: Tensor) -> list[str]:
    """Multiply a site's incoming units by ``factor``, () or (units,): in its weights where no other module has them."""
    if bool((factor == 1).all()):
        return []
    module: Any = plain.get_submodule(site.name)
    if site.kind == "recurrent" or owners(plain, module.weight) > 1:
        module.register_forward_pre_hook(ScaleInput(factor, 1 if site.kind == "conv" else -1))
        why = "it is recurrent" if site.kind == "recurrent" else "its weights are tied"
        return [f"the expected noise on the inputs of {site.name} is kept as a scaling hook: {why}."]
    w = module.weight
    if factor.dim():  # a grouped convolution: every group of outputs reads channels of its own
        groups = getattr(module, "groups", 1)
        factor = factor.view(groups, 1, -1).expand(-1, w.shape[0] // groups, -1).reshape(w.shape[:2])
        factor = factor.view(*factor.shape, *([1] * (w.dim() - 2)))
    w.data.copy_(w.data.double() * factor.to(w.device))
    return []


def owners(model: nn.Module, parameter: Tensor) -> int:
    """How many modules hold this very parameter."""
    return sum(p is parameter for m in model.modules() for p in m.parameters(recurse=False))


class ScaleInput:
    """A forward pre-hook that multiplies the units of the input, on ``axis``, by fixed factors () or (units,)."""

    def __init__(self, factor: Tensor, axis: int) -> None:
        self.factor, self.axis = factor, axis

    def __call__(self, module: Any, args: tuple[Any, ...]) -> tuple[Any, ...]:
        x, factor = args[0], self.factor.to(args[0])
        if factor.dim():
            axis = self.axis % x.dim()
            factor = factor.view(*(-1 if d == axis else 1 for d in range(x.dim())))
        return (x * factor, *args[1:])
