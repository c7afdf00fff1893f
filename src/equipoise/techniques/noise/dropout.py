from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ...errors import EquipoiseError
from ...technique import At, Technique, knob, option


class Dropout(Technique):
    """Drop units: one Bernoulli per unit and example, new at every pass.

    x̃_j = r_j x_j, r_j ~ Bernoulli(1 − p); `inverted`: x̃_j/(1 − p) in training, x in prediction; `at_test`: x̃_j in training,
    (1 − p) x_j in prediction (folded into the outgoing weights on export). Hidden outputs are dropped with p, the network's
    inputs with p_input, its output never. A unit read by several affine maps is dropped for all of them.

    Knobs: `p`, `p_input` = probabilities to drop, in [0, 1).
    Options: `where` = "dense" (default: inputs of Linear), "all", or names of the affine maps whose inputs are dropped;
        `units` = indices of the units concerned (default: all); `scaling` = "inverted" or "at_test".
    Shapes: any site input (B, …, F); convolution inputs (B, C, …) drop single positions.
    Errors: a `where` that names no site, a unit index that a chosen site does not have.
    Trade: a variance reducer at the cost of bias and of 2 to 3 times the steps; widen the layers to n/(1 − p) units.
    Source: Srivastava et al. (2014); Hinton et al. (2012); decks D0 to D4.
    """

    place = ("where",)
    off = {"p": 0.0, "p_input": 0.0}
    random = True
    p: float = knob(0.5, low=0.0, high=1.0, open="high")
    p_input: float = knob(0.0, low=0.0, high=1.0, open="high")
    where: Any = option("dense")
    units: Any = option(None)
    scaling: str = option("inverted", choices=("inverted", "at_test"))

    def build(self, net: Any) -> None:
        for s in self.sites(net):
            width = s.shapes[0][0 if s.kind == "conv" else -1]
            if self.units is not None and max(self.units) >= width:
                raise EquipoiseError(
                    f"{self!r}: {s.name} has {width} input units, numbered from 0; unit {max(self.units)} is not there."
                )

    def act(self, x: Tensor, at: At) -> Tensor:
        p = self.p_input if at.site.reads_input else self.p
        chosen = self._mask(x, at)
        if at.noise is None:
            return x if self.scaling == "inverted" else x * torch.where(chosen, 1 - p, 1.0).to(x.dtype)
        keep = ~at.noise.bernoulli(tuple(x.shape), p)
        kept = x / (1 - p) if self.scaling == "inverted" else x
        return torch.where(chosen, torch.where(keep, kept, 0.0), x).to(x.dtype)

    def _mask(self, x: Tensor, at: At) -> Tensor:
        if self.units is None:
            return torch.ones((), dtype=torch.bool, device=x.device)
        axis = 1 if at.site.kind == "conv" else x.dim() - 1
        i = torch.arange(x.shape[axis], device=x.device)
        hit = (i[:, None] == torch.tensor(self.units, device=x.device)).any(-1)
        return hit.view(*(-1 if d == axis else 1 for d in range(x.dim())))

    def fold(self, plain: Any, net: Any, tensors: Any) -> list[str]:
        if self.scaling == "inverted":
            return []
        return [n for s in self.sites(net) for n in scale_inputs(plain, net, s, self._factor(s))]

    def _factor(self, site: Any) -> Tensor:
        """(1 − p) per input unit of the site."""
        width = site.shapes[0][0 if site.kind == "conv" else -1]
        p = self.p_input if site.reads_input else self.p
        factor = torch.ones(width, dtype=torch.float64)
        factor[list(range(width) if self.units is None else self.units)] = 1 - p
        return factor


def scale_inputs(plain: Any, net: Any, site: Any, factor: Tensor) -> list[str]:
    """Multiply a site's incoming units by ``factor`` (units,) in the plain model: into its weights where that is exact."""
    if bool((factor == 1).all()):
        return []
    module = plain.get_submodule(site.name)
    shared = any(set(o.weights) & set(site.weights) for o in net.sites if o is not site)
    if site.kind == "recurrent" or site.calls > 1 or shared or (site.kind == "conv" and module.groups > 1):
        module.register_forward_pre_hook(ScaleInput(factor, 1 if site.kind == "conv" else -1))
        return [
            f"the expected noise on the inputs of {site.name} is kept as a scaling hook: its weights serve more than one place."
        ]
    w = module.weight
    w.data.mul_(factor.to(w).view(1, -1, *([1] * (w.dim() - 2))))
    return []


class ScaleInput:
    """A forward pre-hook that multiplies the units of the input by fixed factors."""

    def __init__(self, factor: Tensor, axis: int) -> None:
        self.factor, self.axis = factor, axis

    def __call__(self, module: Any, args: tuple[Any, ...]) -> tuple[Any, ...]:
        x = args[0]
        axis = self.axis % x.dim()
        return (x * self.factor.to(x).view(*(-1 if d == axis else 1 for d in range(x.dim()))), *args[1:])
