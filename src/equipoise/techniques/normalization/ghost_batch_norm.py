from __future__ import annotations

from typing import Any

from ...errors import EquipoiseError
from ...technique import Technique, knob, option
from ._layer import check_epsilon, check_momentum, check_units, fold_layers, place_layers
from ._statistics import GhostBatchNormLayer


class GhostBatchNorm(Technique):
    """Batch normalization by the statistics of small pieces of the batch.

    The B rows are cut into G = B // `size` ghosts of equal size (to one row), and each is normalized by itself:
    u = (z − μ_g)/√(σ²_g + ε),  ẑ = γ u + β. A batch smaller than 2·`size` is one ghost, as in BatchNorm. The running
    averages take the ghosts one after the other: μ ← (1 − a)^G μ + Σ_i a (1 − a)^(G − i) μ_i. Prediction is
    BatchNorm's, and so are the gate w and the bias. Over data-parallel ranks ghosts stay on their rank.

    Knobs: `w` in [0, 1], the gate (0 switches it off).
    Options: `size` ≥ 2 rows of a ghost; `where` = "all" (default: every affine map but the output's), "dense", or
        names; `units` = chosen units; `affine` = learn γ and β; `momentum` = a in (0, 1]; `epsilon` = ε > 0.
    Shapes: z (B, F), (B, T, F), (B, C, …); γ, β, μ, σ² (units,).
    Errors: no site left to normalize; a site that another normalization holds; a unit that is not there; batches of
        one row.
    Trade: the noise of small batches at the speed of large ones: variance down, bias up as `size` falls. Costs
        BatchNorm's time and two copies of z.
    Source: Hoffer, Hubara, Soudry (2017).
    """

    slot = "normalization"
    place = ("where",)
    off = {"w": 0.0}
    size: int = option(32)
    w: float = knob(1.0, low=0.0, high=1.0)
    where: Any = option("all")
    units: Any = option(None)
    affine: bool = option(True, choices=(True, False))  # pyright: ignore[reportIncompatibleMethodOverride]
    momentum: float = option(0.1)
    epsilon: float = option(1e-5)

    def check(self) -> None:
        if type(self.size) is not int or self.size < 2:
            raise EquipoiseError(f"{self!r}: size, the rows of a ghost, is a whole number from 2 up; default 32.")
        check_units(self)
        check_epsilon(self)
        check_momentum(self)

    def build(self, net: Any) -> None:
        place_layers(self, net, lambda site: GhostBatchNormLayer(self, site))

    def fold(self, plain: Any, net: Any, tensors: Any) -> list[str]:
        return fold_layers(self, plain, net, tensors)
