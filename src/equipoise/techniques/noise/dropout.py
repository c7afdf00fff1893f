from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from ...errors import EquipoiseError
from ...technique import At, Technique, knob, option
from ._units import check_units, drop, input_axis, input_width, scale_inputs


class Dropout(Technique):
    """Drop units: one Bernoulli per unit and example, new at every pass.

    x̃_j = m_j x_j, m_j ~ Bernoulli(1 − p). `inverted`: x̃_j/(1 − p) in training, x_j in prediction; `at_test`: x̃_j in
    training, (1 − p) x_j in prediction (folded into the outgoing weights on export). Hidden outputs are dropped with p,
    the network's inputs with p_input, its output never. A unit read by several affine maps is dropped for all of them.
    Prediction uses the mean over m; the variance is p/(1 − p) x_j² (`inverted`) or p(1 − p) x_j² (`at_test`).

    Knobs: `p`, `p_input` = probabilities to drop, in [0, 1); both 0 switch it off.
    Options: `where` = "dense" (default: inputs of Linear, so not of convolutions), "all", or names of the affine maps
        whose inputs are dropped; `units` = numbers of the units concerned (default: all); `scaling` = "inverted" or
        "at_test".
    Shapes: any site input (B, …, F), one draw per element; convolution inputs (B, C, …) drop single positions.
    Errors: a `where` that names no site; a unit number that a chosen site does not have; no hidden units while
        p_input = 0.
    Trade: a variance reducer at the cost of bias and of 2 to 3 times the steps; widen the layers to n/(1 − p) units, so
        that n of them stay on average.
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

    def check(self) -> None:
        check_units(self)

    @property
    def structure(self) -> tuple[Any, ...]:
        """Runs that drop inputs have a program of their own: the others need no masks over inputs, often the widest."""
        return (*super().structure, ("inputs", self.p_input > 0))

    def sites(self, net: Any) -> list[Any]:
        chosen = net.select(self.where)
        hidden = [s for s in chosen if not s.reads_input]
        return hidden if hidden and self.p_input == 0 else chosen

    def build(self, net: Any) -> None:
        chosen = self.sites(net)
        if self.p > 0 and self.p_input == 0 and all(s.reads_input for s in chosen):
            raise EquipoiseError(
                f"{self!r} finds no hidden units ({net.describe()}): name other maps with where=, or set p_input=."
            )
        for s in chosen:
            if self.units is not None and max(self.units) >= input_width(s):
                raise EquipoiseError(
                    f"{self!r}: {s.name} has input units 0 to {input_width(s) - 1}: choose among them, or set where=."
                )

    def act(self, x: Tensor, at: At) -> Tensor:
        p = self._rate(at.site)
        if self.scaling == "inverted":
            noisy = x if at.noise is None else drop(x, p, at.noise)
        else:
            noisy = x * (1 - p) if at.noise is None else x * at.noise.bernoulli(tuple(x.shape), 1 - p)
        return noisy if self.units is None else torch.where(self._chosen(x, at.site), noisy, x)

    def _rate(self, site: Any) -> Any:
        return self.p_input if site.reads_input else self.p

    def _chosen(self, x: Tensor, site: Any) -> Tensor:
        """True at the units concerned, in a shape that broadcasts over x."""
        axis = input_axis(site, x.dim())
        i = torch.arange(x.shape[axis], device=x.device)
        hit = (i[:, None] == torch.tensor(self.units, device=x.device)).any(-1)
        return hit.view(*(-1 if d == axis else 1 for d in range(x.dim())))

    def fold(self, plain: Any, net: Any, tensors: Mapping[str, Tensor]) -> list[str]:
        if self.scaling == "inverted":
            return []
        return [note for s in self.sites(net) for note in scale_inputs(plain, s, self._factor(s))]

    def _factor(self, site: Any) -> Tensor:
        """(1 − p) per input unit of the site."""
        factor = torch.ones(input_width(site), dtype=torch.float64)
        factor[slice(None) if self.units is None else list(self.units)] = 1 - self._rate(site)
        return factor
