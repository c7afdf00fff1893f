"""Vector A-10, clipping by norm, and the tail of the norms."""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from equipoise.probes.gradient_spikes import GradientSpikes, clip, tail


def test_clipping_to_one():
    norm, g = clip(torch.tensor([3.0, 4.0], dtype=torch.float64), 1.0)
    assert norm == 5.0
    assert g.tolist() == pytest.approx([0.6, 0.8], abs=2e-7)
    p = torch.nn.Parameter(torch.zeros(2, dtype=torch.float64))
    p.grad = torch.tensor([3.0, 4.0], dtype=torch.float64)
    assert float(torch.nn.utils.clip_grad_norm_([p], 1.0)) == 5.0
    assert torch.allclose(p.grad, g, rtol=1e-14)
    assert clip(torch.tensor([0.3, 0.4]), 1.0)[1].tolist() == pytest.approx([0.3, 0.4])


def test_the_tail():
    assert tail([1.0] * 98 + [20.0, 20.0]) == 20.0
    assert tail([2.0] * 99 + [1000.0]) == 1.0  # one step of a hundred is beyond the 99th percentile
    assert tail([1.0] * 90 + [math.nan] * 10) == math.inf


def test_a_loss_that_stays_where_it_began_does_not_diverge():
    """A start at 1.2 losses of a constant: an end at 1.25 has not moved away by a tenth of that, one at 1.35 has."""
    probe = GradientSpikes()

    def speaks(end: float) -> bool:
        first, last = SimpleNamespace(loss=1.2), SimpleNamespace(loss=end)
        given: Any = SimpleNamespace(
            norms=[1.0] * 10, losses=[1.2] * 10, constant=1.0, first=first, last=last, learned=1 - end, recipe=(),
            first_ratio=0.01, entry=lambda _: None, at_rate=lambda _: (),
        )  # fmt: skip
        return bool(probe.judge(probe.measure(given), given))

    assert not speaks(1.25)
    assert speaks(1.35)
