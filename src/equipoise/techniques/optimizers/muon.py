from __future__ import annotations

from typing import Any

from torch import Tensor

from ... import tree
from ...errors import EquipoiseError
from ...technique import At, Params, State, Technique, knob, option
from .._whole import whole
from .adam import adam

A, B, C = 3.4445, -4.7750, 2.0315  # the quintic of Jordan et al., steepest at 0


class Muon(Technique):
    """Momentum made orthogonal, for the weight matrices of hidden layers; Adam for every other parameter.

    u ← α u + (1 − α) g,  n = (1 − α) g + α u,  w ← w − ε √max(1, r/c) · NS(n)
    NS(n) ≈ U Vᵀ for n = U S Vᵀ: X = n/‖n‖, then `steps` times X ← a X + (b G + c G²) X with G = X Xᵀ and
    (a, b, c) = (3.4445, −4.7750, 2.0315); the singular values end near 1, in about [0.7, 1.2]. w is a matrix (r, c), a
    kernel is taken as (C_out, C_in·k…).

    Newton–Schulz runs in the parameters' precision (torch.optim.Muon rounds to bfloat16), so that one run of many
    equals the run alone. The others take Adam's step at the rate ε · adam_rate/rate, so that a schedule moves both.
    Decay is an entry of its own: WeightDecay.

    Knobs: `rate` = ε > 0; `momentum` = α in [0, 1); `adam_rate` > 0, `beta1`, `beta2` in [0, 1), `delta` > 0 for the
        others.
    Options: `where` = "hidden" (default: affine maps that neither read the network's input nor give its output), "all",
        "dense", or names; `steps` of Newton–Schulz.
    Shapes: state u for each orthogonalized weight, m and v for each other parameter.
    Errors: no weight matrix at `where` is refused: use AdamW.
    Trade: every direction of the matrix moves alike, the rare ones too: fewer steps; costs three
        matrix products per iteration, step and weight.
    Source: Jordan et al. (2024), Muon; Liu et al. (2025), arXiv 2502.16982.
    """

    slot = "optimizer"
    rate: float = knob(0.02, low=0.0, open="low")
    momentum: float = knob(0.95, low=0.0, high=1.0, open="high")
    adam_rate: float = knob(3e-4, low=0.0, open="low")
    beta1: float = knob(0.9, low=0.0, high=1.0, open="high")
    beta2: float = knob(0.95, low=0.0, high=1.0, open="high")
    delta: float = knob(1e-8, low=0.0, open="low")
    where: Any = option("hidden")
    steps: int = option(5)

    def check(self) -> None:
        whole(self, "steps", 1)

    def build(self, net: Any) -> None:
        mine = self._matrices(net)
        if not mine:
            raise EquipoiseError(
                f"{self!r} finds no weight matrix of a hidden layer ({net.describe()}): use AdamW or where=."
            )
        net.note(f"Muon orthogonalizes {len(mine)} of {len(net.affine_weights)} weight matrices; Adam trains the rest.")

    def _matrices(self, net: Any) -> set[str]:
        if self.where == "hidden":
            sites = [s for s in net.sites if not (s.reads_input or s.is_output)]
        else:
            sites = net.select(self.where)
        return {w for s in sites for w in s.weights} & net.affine_weights

    def start(self, params: Params, net: Any) -> State:
        mine = self._matrices(net)
        others = {k: p for k, p in params.items() if k not in mine}
        u = tree.zeros_like({k: p for k, p in params.items() if k in mine})
        return {"u": u, "m": tree.zeros_like(others), "v": tree.zeros_like(others)}

    def update(self, grads: Params, state: State, params: Params, at: At) -> tuple[Params, State]:
        a, rest = self.momentum, {k: p for k, p in params.items() if k not in state["u"]}
        u = {k: (a * v + (1 - a) * grads[k]).to(v.dtype) for k, v in state["u"].items()}
        moved = {k: self._moved(params[k], ((1 - a) * grads[k] + a * v).to(v.dtype), at.rate) for k, v in u.items()}
        others = at._replace(rate=at.rate * self.adam_rate / self.rate)
        trained, moments = adam(self, {k: grads[k] for k in rest}, {"m": {}, "v": {}, **state}, rest, others)
        return {k: (moved if k in u else trained)[k] for k in params}, {"u": u, **moments}

    def _moved(self, w: Tensor, n: Tensor, rate: Any) -> Tensor:
        o = orthogonalized(n.flatten(1), self.steps)
        return w - rate * max(1.0, o.shape[0] / o.shape[1]) ** 0.5 * o.view(w.shape)


def orthogonalized(n: Tensor, steps: int) -> Tensor:
    """Newton–Schulz: the (r, c) matrix with its singular values moved towards 1."""
    tall = n.shape[0] > n.shape[1]
    x = n.mT if tall else n
    x = x / x.norm().clamp(min=1e-7)
    for _ in range(steps):
        g = x @ x.mT
        x = A * x + (B * g + C * (g @ g)) @ x
    return x.mT if tall else x
