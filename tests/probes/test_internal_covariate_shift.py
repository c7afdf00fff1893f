"""Vector A-5: f = w₂ w₁ x, L = f²/2 at x = 1, y = 0, w = (1, 2), rate .1."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from equipoise.probes.internal_covariate_shift import shifts


def gradient(p: dict[str, Tensor]) -> tuple[dict[str, Tensor], float]:
    w1, w2 = p["w1"], p["w2"]
    f = w2 * w1
    return {"w1": f * w2, "w2": f * w1}, float(f**2 / 2)


def test_two_layers():
    old = {"w1": torch.tensor(1.0).double(), "w2": torch.tensor(2.0).double()}
    g, _ = gradient(old)
    assert (float(g["w1"]), float(g["w2"])) == (4.0, 2.0)
    new = {k: old[k] - 0.1 * g[k] for k in old}
    assert float(new["w1"]) == pytest.approx(0.6)
    first, second = shifts(gradient, old, new, [["w1"], ["w2"]], [0, 1])
    assert first == (0.0, 0.0, 1.0)
    assert second == pytest.approx((1.28, 0.64, 1.0))  # G′₂ = 2·.6·.6 = .72
    assert shifts(gradient, old, new, [["w1"], ["w2"]], [1]) == [second]
