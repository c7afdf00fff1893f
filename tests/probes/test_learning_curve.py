"""The next doubling: by hand, exact on a power law; the contrasts and their intervals; the rule."""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from equipoise import stats
from equipoise import techniques as T
from equipoise.probe import Sizes
from equipoise.probes.learning_curve import CONTRASTS, UNITS, LearningCurve, next_gain


def test_by_hand():
    assert next_gain(1.0, 0.6, 0.4) == pytest.approx(0.1)


@pytest.mark.parametrize(("c", "a", "b"), [(0.2, 1.0, 0.5), (0.0, 3.0, 1.0), (1.0, 0.4, 0.1)])
def test_it_is_exact_on_a_power_law(c: float, a: float, b: float):
    quarter, half, whole, twice = (c + a * n**-b for n in (1, 2, 4, 8))
    assert next_gain(quarter, half, whole) == pytest.approx(whole - twice, rel=1e-9)


def test_a_curve_that_does_not_bend_so_promises_no_more_than_it_gave():
    assert next_gain(1.0, 0.9, 0.6) == pytest.approx(0.3)  # falls faster and faster
    assert next_gain(0.5, 0.6, 0.4) == pytest.approx(0.2)
    assert next_gain(1.0, 0.6, 0.7) == pytest.approx(-0.1)  # no gain, no promise


def arm(level: float, seed: int) -> Tensor:
    g = torch.Generator().manual_seed(seed)
    return level + 0.01 * torch.randn(3, 50, generator=g, dtype=torch.float64)


def trace(quarter: float, half: float, whole: float, augmented: float) -> Any:
    sizes = Sizes(arm(quarter, 1), arm(half, 2), arm(whole, 3), arm(augmented, 4), T.MixUp(0.2))
    return SimpleNamespace(sizes=sizes)


def values(t: Any) -> dict[str, float]:
    return {m.unit: m.value for m in LearningCurve().measure(t)}


def test_the_contrasts_are_those_they_are_called():
    t = trace(1.0, 0.6, 0.4, 0.55)
    found = values(t)
    last, gain, more = (found[UNITS[i]] for i in (0, 4, 6))
    y = np.stack([getattr(t.sizes, k).numpy() for k in ("quarter", "half", "whole", "augmented")])
    means = y.mean((1, 2))
    assert last == pytest.approx(means[1] - means[2], rel=1e-9)
    assert gain == pytest.approx(means[1] - means[3], rel=1e-9)
    assert more == pytest.approx(means[3] - means[2], rel=1e-9)
    assert found[UNITS[2]] == pytest.approx(next_gain(*map(float, means[:3])), rel=1e-9)
    assert found[UNITS[1]] == pytest.approx(float(stats.interval(y[1:], np.array(CONTRASTS)).low[0]), rel=1e-12)


@pytest.mark.parametrize(
    ("levels", "fires", "entries", "text"),
    [
        ((1.0, 0.7, 0.4, 0.5), True, True, "more than"),  # both pay, data more
        ((1.0, 0.7, 0.4, 0.2), True, True, "less than"),
        ((1.0, 0.7, 0.4, 0.9), True, False, "more than"),  # augmentation harms: it is not proposed
        ((1.0, 0.99, 0.98, 0.5), False, False, ""),  # the curve is flat
        ((0.4, 0.4, 0.7, 0.4), False, False, ""),
    ],
)
def test_the_rule(levels: tuple[float, float, float, float], fires: bool, entries: bool, text: str):
    probe, t = LearningCurve(), trace(*levels)
    found = probe.judge(probe.measure(t), t)
    assert bool(found) == fires
    for f in found:
        assert f.proposed == ((T.MixUp(0.2),) if entries else ())
        assert text in f.reason


@pytest.mark.parametrize("broken", [False, True])
def test_not_asked_for_and_not_finite_are_missing(broken: bool):
    t = trace(1.0, 0.6, math.nan if broken else 0.4, 0.5)
    if not broken:
        t.sizes = None
    measures = LearningCurve().measure(t)
    assert [m.unit for m in measures] == list(UNITS)
    assert all(math.isnan(m.value) for m in measures)
    assert LearningCurve().judge(measures, t) == []
