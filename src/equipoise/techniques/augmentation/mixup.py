from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from ...errors import EquipoiseError
from ...technique import At, Batch, Technique, knob, option
from ._pairs import PER, beta, draws, mixed


class MixUp(Technique):
    """Train on convex combinations of pairs of examples and of their targets.

    x̃ = λ x_i + (1 − λ) x_j,  ỹ = λ y_i + (1 − λ) y_j,  λ ~ Beta(a, a)
    The partner j is the row before i in the batch (of the first row the last), so the order of the rows decides the
    pairs: leave the shuffling on.

    Knobs: `a` ≥ 0; 0 switches it off (λ = 1).
    Options: `per` = "batch" (default: one λ a step) or "pair" (one λ an example).
    Shapes: prepared x (B, …), targets (B, C) or (B, T), weights (B,) mixed alike; a batch of one mixes with itself.
    Errors: inputs of whole numbers (tokens), which have no combinations.
    Trade: a variance reducer that raises training loss; strong against label noise; metrics are taken on clean rows.
    Source: Zhang et al. (2018); deck D1.
    """

    off = {"a": 0.0}
    random = True
    phase = "mixed"
    a: float = knob(0.2, low=0.0, high=math.inf, open="high")
    per: str = option("batch", choices=PER)

    @property
    def host_draws(self) -> str:  # pyright: ignore[reportIncompatibleVariableOverride]
        return draws(self.per)

    def fit(self, x: Any, y: Tensor, data: Any) -> dict[str, Tensor]:
        for i, v in enumerate(x if isinstance(x, tuple) else (x,)):
            if not v.is_floating_point() and v.dtype != torch.uint8:
                raise EquipoiseError(
                    f"{self!r} combines numbers, but input {i} holds tokens ({v.dtype}): leave it out."
                )
        return {}

    def host(self, u: Any) -> Any:
        return beta(self.a, u)

    def batch(self, batch: Batch, at: At) -> Batch:
        assert at.host is not None
        share = at.host
        x = batch.map_x(lambda v: mixed(v, share))
        return x._replace(y=mixed(batch.y, share), w=mixed(batch.w, share))
