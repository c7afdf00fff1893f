"""What is left without some units: by hand, the masks, and the rule on redundant and on brittle layers."""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from equipoise.probes.unit_removal import UnitRemoval, kept, left


def test_by_hand():
    assert left(0.7, 0.9, 0.5) == pytest.approx(0.5)
    assert left(0.9, 0.9, 0.5) == 1.0
    assert left(0.4, 0.9, 0.5) == pytest.approx(-0.25)
    assert math.isnan(left(0.5, 0.5, 0.5))


@pytest.mark.parametrize(("units", "share", "out"), [(20, 0.1, 2), (20, 0.5, 10), (3, 0.1, 1), (64, 0.3, 19)])
def test_so_many_units_are_taken_out(units: int, share: float, out: int):
    g = torch.Generator().manual_seed(0)
    masks = torch.stack([kept(units, share, g) for _ in range(400)])
    assert set(masks.unique().tolist()) == {0.0, 1.0}
    assert ((masks == 0).sum(1) == out).all()
    # each unit is out with probability p = out/units: five standard errors of 400 draws
    p = out / units
    assert float((masks.mean(0) - (1 - p)).abs().max()) < 5 * math.sqrt(p * (1 - p) / 400)


def trace(score: Any, stop: float = 1.5, units: int = 20) -> Any:
    noise = 0.01 * torch.randn(40, generator=torch.Generator().manual_seed(0))
    f = SimpleNamespace(score=score, widths={"a": units}, chance=0.5)
    return SimpleNamespace(function=f, stop=[stop + noise], fit=0.1 - noise, baseline=1.0, failed="")


def redundant(keep: dict[str, torch.Tensor]) -> float:
    return 0.9


def brittle(keep: dict[str, torch.Tensor]) -> float:
    """Every unit lost costs a tenth."""
    return max(0.5, 0.9 - 0.1 * float((keep["a"] == 0).sum())) if keep else 0.9


@pytest.mark.parametrize(
    ("score", "stop", "fires"), [(brittle, 1.5, True), (redundant, 1.5, False), (brittle, 0.5, False)]
)
def test_the_rule(score: Any, stop: float, fires: bool):
    probe, t = UnitRemoval(), trace(score, stop)
    measures = probe.measure(t)
    expected = [0.5, 0.0, 0.0] if score is brittle else [1.0, 1.0, 1.0]  # .7, .5, .5 of .9 over chance
    assert [m.value for m in measures[:3]] == pytest.approx(expected)
    assert bool(probe.judge(measures, t)) == fires


def test_narrow_layers_are_left_whole():
    assert UnitRemoval().measure(trace(brittle, units=9)) == []
