from __future__ import annotations

from typing import Any

import numpy as np
import torch

from ...technique import At, Batch, Technique, knob, option


class MixUp(Technique):
    """Train on convex combinations of pairs of examples and of their targets.

    x̃ = λ x_i + (1 − λ) x_j,  ỹ = λ y_i + (1 − λ) y_j,  λ ~ Beta(a, a); the partner j is the next row of the shuffled batch.

    Knobs: `a` ≥ 0; 0 switches it off (λ = 1).
    Options: `per` = "batch" (one λ a step) or "pair" (one λ an example).
    Shapes: prepared x (B, …), targets (B, C) or (B, T), weights mixed alike; a batch of one mixes with itself.
    Trade: a variance reducer that raises training loss; strong against label noise; metrics are taken on clean examples.
    Source: Zhang et al. (2018); deck D1.
    """

    off = {"a": 0.0}
    random = True
    phase = "mixed"
    a: float = knob(0.2, low=0.0)
    per: str = option("batch", choices=("batch", "pair"))

    @property
    def host_draws(self) -> str:  # pyright: ignore[reportIncompatibleVariableOverride]
        return "step" if self.per == "batch" else "row"

    def host(self, u: Any) -> Any:
        if self.a == 0:
            return np.ones_like(u)
        from scipy.special import betaincinv

        return betaincinv(self.a, self.a, u)

    def batch(self, batch: Batch, at: At) -> Batch:
        assert at.host is not None

        def mix(v: Any) -> Any:
            lam = at.host.view(-1, *([1] * (v.dim() - 1))) if self.per == "pair" else at.host  # type: ignore[union-attr]
            return torch.where(lam == 1, v, lam * v + (1 - lam) * v.roll(1, 0)).to(v.dtype)

        return batch.map_x(mix)._replace(y=mix(batch.y), w=mix(batch.w))
