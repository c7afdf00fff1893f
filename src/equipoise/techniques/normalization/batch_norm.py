from __future__ import annotations

from typing import Any

from ...technique import At, Params, Technique, knob, option
from ._layer import check_epsilon, check_momentum, check_units, fold_layers, place_layers
from ._statistics import BatchNormLayer, population_statistics


class BatchNorm(Technique):
    """Batch normalization between the affine map and the activation.

    u = (z − μ_B)/√(σ²_B + ε),  ẑ = γ u + β; per unit for vectors, per channel over N × positions for images.
    σ²_B with 1/m (`ddof` = 0) or 1/(m − 1) (`ddof` = 1), m = N × positions. With the gate w: w·ẑ + (1 − w)·z, and the
    bias of a normalized unit, which ẑ does not feel, enters as (1 − w)·b. Prediction puts fixed μ, σ² in place of the
    batch's and is affine, so it is folded into W and b on export. Where μ, σ² come from:

    `running`: after every step μ ← (1 − a) μ + a μ_B, σ² ← (1 − a) σ² + a m/(m − 1) σ²_B (1/m), as in torch.
    `population`: from the final weights, over the batches of the clean fit rows weighted by m, with all noise and
    augmentation off: μ = E[μ_B], σ² = E[m/(m − 1) σ²_B].
    `pooled`: likewise, but the exact variance of all rows together: σ² = E[σ²_B] + Var[μ_B].

    Knobs: `w` in [0, 1], the gate (0 switches it off).
    Options: `where` = "all" (default: every affine map but the output's), "dense", or names; `units` = chosen units;
        `ddof` = 0 or 1; `affine` = learn γ and β (False: the simple normalization); `momentum` = a in (0, 1];
        `epsilon` = ε > 0; `statistics` = "running" (default), "population" or "pooled".
    Shapes: z (B, F), (B, T, F), (B, C, …); γ, β, μ, σ² (units,).
    Errors: no site left to normalize; a site that another normalization holds; a unit that is not there; batches of
        one row.
    Trade: smooths the loss surface, so that larger rates train; the batch's noise regularizes: variance down a little,
        bias up where batches are small (the relative error of σ²_B is √(2/(m − 1)), so m ≥ 8 or so). Costs a pass
        over z and one over its gradient.
    Source: Ioffe and Szegedy (2015); Santurkar et al. (2018) on why; decks D0 to D4 (1/(m − 1): D0; `population`: D2).
    """

    slot = "normalization"
    place = ("where",)
    off = {"w": 0.0}
    turn = 1  # `finish`: after techniques that choose the final weights
    companions = ("a higher learning rate", "a faster decay of it", "reshuffling each epoch", "less Dropout", "less L2")
    w: float = knob(1.0, low=0.0, high=1.0)
    where: Any = option("all")
    units: Any = option(None)
    ddof: int = option(0, choices=(0, 1))
    affine: bool = option(True, choices=(True, False))  # pyright: ignore[reportIncompatibleMethodOverride]
    momentum: float = option(0.1)
    epsilon: float = option(1e-5)
    statistics: str = option("running", choices=("running", "population", "pooled"))

    def check(self) -> None:
        check_units(self)
        check_epsilon(self)
        check_momentum(self)

    def build(self, net: Any) -> None:
        place_layers(self, net, lambda site: BatchNormLayer(self, site, self.ddof, queue=self.statistics != "running"))

    def finish(self, params: Params, buffers: Params, at: At) -> tuple[Params, Params]:
        if self.statistics == "running" or self.w == 0:
            return params, buffers
        names = [f"{s.name}.normalization" for s in at.net.sites if s.norm_by == self.key]
        return params, population_statistics(names, self.statistics, params, buffers, at.forward)

    def fold(self, plain: Any, net: Any, tensors: Any) -> list[str]:
        return fold_layers(self, plain, net, tensors)
