from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from ...errors import EquipoiseError
from ...technique import At, Params, Technique, knob, option

EDGE = 1e-6  # mean rates are read no nearer to 0 and 1 than this: the logarithms stay finite
PROBE = 1e4  # factor on the parameters at which units without bounds show themselves


class SparseActivations(Technique):
    """Sparse hidden activations: an L1 penalty on them, or a target rate for sigmoid units.

    `l1`: L + α Σ_j (1/B) Σ_i |a_ij|.
    `kl`: L + α Σ_j KL(ρ ‖ ρ̂_j), ρ̂_j = (1/B) Σ_i a_ij, KL(ρ ‖ ρ̂) = ρ ln(ρ/ρ̂) + (1 − ρ) ln((1 − ρ)/(1 − ρ̂)): 0 where the
    mean rate of unit j is ρ, and only there.

    Knobs: `alpha` = α ≥ 0 (0 switches it off), in units of the loss per unit of activation (`l1`) or per nat (`kl`);
        `target` = ρ in (0, 1), read by `kl` alone.
    Options: `kind` = "l1" (default) or "kl".
    Shapes: the inputs a (B, …) of every affine map that does not read the network's input, after activation and
        pooling; every entry of an example is a unit j. What several maps read is counted once.
    Errors: a network without hidden activations; `kl` where they are no rates in [0, 1] (ReLU, tanh, …), found before
        the first step by running the first batch with 10,000 times the weights.
    Trade: few active units an example: variance down, bias up where the code must be dense. One pass over the
        activations a step.
    Source: Lee, Ekanadham and Ng (2008); Ng (2011), Sparse autoencoder; L1: Glorot, Bordes and Bengio (2011); deck D1.
    """

    off = {"alpha": 0.0}
    turn = 1  # looks at the start values after the initializers
    needs_activations = True
    alpha: float = knob(1e-3, low=0.0)
    target: float = knob(0.05, low=0.0, high=1.0, open="both")
    kind: str = option("l1", choices=("l1", "kl"))

    def build(self, net: Any) -> None:
        if all(s.reads_input for s in net.sites):
            raise EquipoiseError(
                f"{self!r} finds no hidden activations in this model ({net.describe()}): leave it out."
            )

    def init(self, params: Params, at: Callable[[Any], At]) -> Params:
        """Changes nothing; refuses units that are no rates, seen on the first batch."""
        whole = at(None)
        if self.kind == "kl" and whole.batch is not None:
            for name, low, high in _ranges(whole, {k: PROBE * v for k, v in params.items()}):
                if not (low >= 0 and high <= 1):
                    raise EquipoiseError(
                        f"{self!r}: activations into {name} are no rates in [0, 1] (seen: {low:.3g} to {high:.3g}); "
                        "use sigmoid units, or kind='l1'."
                    )
        return params

    def penalty(self, params: Params, at: At) -> Tensor:
        dtype = next(iter(params.values())).dtype
        units = [_per_unit(a.to(dtype), self.kind, self.target) for a in _distinct(at.activations)]
        return (torch.stack(units).sum() * self.alpha).to(dtype)


def _per_unit(a: Tensor, kind: str, rho: Any) -> Tensor:
    """Sum over units of the mean |a| over the batch, or of the divergence of the mean rate from ``rho``."""
    if kind == "l1":
        return a.abs().mean(0).sum()
    rate = a.mean(0).clamp(EDGE, 1 - EDGE)
    return (rho * torch.log(rho / rate) + (1 - rho) * torch.log((1 - rho) / (1 - rate))).sum()


def _distinct(tensors: Sequence[Tensor]) -> list[Tensor]:
    """Each tensor once: an activation read by three maps (query, key, value) is one activation."""
    return list({id(t): t for t in tensors}.values())


def _ranges(at: At, params: Params) -> list[tuple[str, float, float]]:
    """(site, lowest, highest input) of every hidden affine map, on the first batch."""
    seen: list[tuple[str, float, float]] = []
    hidden = [s for s in at.net.sites if not s.reads_input]
    handles = [s.module.register_forward_pre_hook(_note(s.name, seen)) for s in hidden]
    try:
        with torch.no_grad():
            at.forward(params)
    finally:
        for h in handles:
            h.remove()
    return seen


def _note(name: str, seen: list[tuple[str, float, float]]) -> Callable[[Any, Any], None]:
    def hook(_: Any, args: tuple[Any, ...]) -> None:
        seen.append((name, float(args[0].min()), float(args[0].max())))

    return hook
