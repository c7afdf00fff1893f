"""Path over chord on straight lines between examples: by hand, of linear functions, and the rule."""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from equipoise.probes.function_smoothness import FunctionSmoothness, roughness


def test_by_hand():
    """|x| from −1 to 3 in steps of 1: 1, 0, 1, 2, 3 is a path of 4 with a chord of 2."""
    assert roughness(torch.tensor([1.0, 0.0, 1.0, 2.0, 3.0]).view(1, 5, 1)) == 2.0
    both = torch.tensor([[0.0, 0.0], [1.0, 1.0], [2.0, 4.0]]).view(1, 3, 2)  # (x, x²) from 0 to 2
    assert roughness(both) == pytest.approx((2**0.5 + 10**0.5) / 20**0.5)
    assert roughness(100 * both + 7) == pytest.approx(roughness(both))  # free of scale and offset
    assert math.isnan(roughness(torch.zeros(2, 5, 3)))


def test_pairs_are_added_before_they_are_divided():
    a = torch.tensor([[0.0, 1.0, 2.0], [0.0, 3.0, 2.0]]).view(2, 3, 1)  # paths 2 and 4, chords 2 and 2
    assert roughness(a) == 1.5


def trace(function: Any, stop: float, fit: float) -> Any:
    g = torch.Generator().manual_seed(0)
    x = (torch.randn(40, 3, generator=g, dtype=torch.float64),)
    noise = 0.01 * torch.randn(40, generator=g)
    f = SimpleNamespace(x=x, respond=lambda v: {"hidden": v[0] * 2, "head": function(v[0])})
    return SimpleNamespace(function=f, stop=[stop + noise], fit=fit - noise, baseline=1.0, failed="")


def wild(x: torch.Tensor) -> torch.Tensor:
    return torch.sin(12 * x.sum(1, keepdim=True))


def test_a_linear_function_is_one():
    measures = FunctionSmoothness().measure(trace(lambda x: x @ torch.ones(3, 2).double() + 1, 0.5, 0.4))
    assert [m.where for m in measures[:2]] == ["hidden", "head"]
    assert [m.value for m in measures[:2]] == pytest.approx([1.0, 1.0], rel=1e-12)
    assert [m.threshold for m in measures[:2]] == [None, 3.0]


@pytest.mark.parametrize(
    ("function", "stop", "fit", "fires"),
    [
        (wild, 1.5, 0.1, True),
        (torch.tanh, 1.5, 0.1, False),  # smooth: another reason
        (wild, 0.5, 0.1, False),  # better than a constant: it serves
        (wild, 1.5, 1.6, False),  # no gap: a task that oscillates
    ],
)
def test_the_rule(function: Any, stop: float, fit: float, fires: bool):
    probe, t = FunctionSmoothness(), trace(function, stop, fit)
    found = probe.judge(probe.measure(t), t)
    assert [f.where for f in found] == (["head"] if fires else [])


def test_tokens_are_not_read():
    t = trace(torch.tanh, 1.5, 0.1)
    t.function.x = ()
    assert FunctionSmoothness().measure(t) == []
