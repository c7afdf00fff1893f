"""Vector A-6: a quadratic along its gradient."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from equipoise.probes._along import along

H = torch.tensor([1.0, 10.0], dtype=torch.float64)


def gradient(params: dict[str, Tensor]) -> tuple[dict[str, Tensor], float]:
    theta = params["θ"]
    return {"θ": H * theta}, float((H * theta**2).sum() / 2)


def test_a_quadratic():
    params = {"θ": torch.ones(2, dtype=torch.float64)}
    g, start = gradient(params)
    assert (g["θ"].tolist(), start) == ([1.0, 10.0], 5.5)
    found = along(gradient, params, {"θ": -g["θ"]}, [0.05, 0.1, 0.2])
    assert found.loss == pytest.approx([1.70125, 0.405, 5.32], abs=1e-12)
    assert found.change == pytest.approx([5.0002, 10.0005, 20.0010], abs=5e-5)
    assert found.cosine == pytest.approx([0.9961, 0.0995, -0.9839], abs=5e-5)
    assert found.beta == pytest.approx([(10001 / 101) ** 0.5] * 3, rel=1e-12)  # ‖Hg‖/‖g‖ = 9.95086…
    assert (min(found.loss), max(found.loss)) == pytest.approx((0.405, 5.32))
