"""The parabola along a step: by hand, against NumPy, on a quadratic, and the rule on a rate too low and too high."""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from equipoise import techniques as T
from equipoise.probes._along import along
from equipoise.probes.update_shape import UpdateShape, alpha, bend, parabola


def test_by_hand():
    """φ(c) = (c − 2)²: φ(0) = 4, φ′(0) = −4, φ(1) = 1, φ′(1) = −2; one step goes half of the way down."""
    w = parabola((4.0, -4.0), (1.0, -2.0))
    assert w == pytest.approx((4, -4, 1), abs=1e-12)
    assert alpha(*w[1:]) == pytest.approx(-0.5)


@pytest.mark.parametrize(("minimum", "expected"), [(1.0, 0.0), (0.5, 1.0), (0.25, 3.0), (1000.0, -0.999)])
def test_where_a_step_lands(minimum: float, expected: float):
    """φ(c) = (c − m)² has α = 1/m − 1: at the minimum, as high on the other side, beyond, hardly moved."""
    _, w1, w2 = parabola((minimum**2, -2 * minimum), ((1 - minimum) ** 2, 2 - 2 * minimum))
    assert alpha(w1, w2) == pytest.approx(expected, abs=1e-8)
    assert alpha(7 * w1, 7 * w2) == pytest.approx(expected, abs=1e-8)  # free of the loss's scale


def test_lines_and_steps_uphill():
    assert alpha(-3.0, 0.0) == -1.0
    assert alpha(-3.0, -1.0) < -1  # bends away downwards
    assert math.isnan(alpha(1.0, 2.0))
    assert all(map(math.isnan, parabola((1.0, math.inf), (0.0, 0.0))))


def test_the_fit_is_numpys_least_squares():
    rows = np.array([[1, 0, 0], [0, 1, 0], [1, 1, 1], [0, 1, 2]], dtype=float)
    seen = np.array([1.0, -0.7, 0.9, 0.4])  # no parabola has all four
    expected = np.linalg.lstsq(rows, seen, rcond=None)[0]
    assert parabola((1.0, -0.7), (0.9, 0.4)) == pytest.approx(tuple(expected), abs=1e-12)


def test_how_far_from_quadratic():
    """c³ at 0, 1, 2, 3 leaves ±.3, ∓.9 of a sum of squares of 470."""
    assert bend([0, 1, 2, 3], [0, 1, 8, 27]) == pytest.approx(1.8 / 470, rel=1e-9)
    assert bend([0, 1, 2, 3], [5, 3, 3, 5]) == pytest.approx(0.0, abs=1e-20)
    c, y = [0.0, 0.5, 1.0, 2.0, 4.0], [1.0, 0.2, 0.5, 3.0, 2.0]
    left = np.polyfit(c, y, 2, full=True)[1][0]
    assert bend(c, y) == pytest.approx(left / ((np.array(y) - np.mean(y)) ** 2).sum(), rel=1e-9)


def gradient(params: dict[str, Tensor]) -> tuple[dict[str, Tensor], float]:
    h = torch.tensor([1.0, 10.0], dtype=torch.float64)
    return {"θ": h * params["θ"]}, float((h * params["θ"] ** 2).sum() / 2)


def trace(rate: float, learned: float = 0.0, constant: float = 5.5) -> Any:
    """One step of gradient descent from (1, 1) on ½θ′Hθ, H = diag(1, 10): the best rate along g is 101/1001."""
    params = {"θ": torch.ones(2, dtype=torch.float64)}
    line = along(gradient, params, {"θ": -rate * gradient(params)[0]["θ"]}, [0.5, 1.0, 2.0, 4.0])
    at_rate = lambda factor: (T.SGD(float(f"{rate * factor:.2g}")),)  # noqa: E731
    return SimpleNamespace(
        line=line, constant=constant, losses=[0.0] * 100, learned=learned, failed="", at_rate=at_rate
    )


@pytest.mark.parametrize(
    ("rate", "symptom"), [(0.3, "too steep"), (1e-5, "too shallow"), (0.1, ""), (0.05, ""), (1e-2, "")]
)
def test_the_rule_on_a_quadratic(rate: float, symptom: str):
    probe, t = UpdateShape(), trace(rate)
    measures = probe.measure(t)
    best = 101 / 1001  # g′g/g′Hg
    assert measures[0].value == pytest.approx(rate / best - 1, rel=1e-9)
    assert measures[3].value == pytest.approx(101**2 / (2 * 1001 * 5.5), rel=1e-6)  # (g′g)²/(2 g′Hg) over L₀
    assert measures[4].value == pytest.approx(0.0, abs=1e-12)
    found = probe.judge(measures, t)
    assert [symptom in f.symptom for f in found] == ([True] if symptom else [])
    for f in found:
        assert f.proposed[0].knobs()["rate"] == pytest.approx(min(best, 1000 * rate), rel=0.06)  # lands at the minimum
    assert not probe.judge(measures, trace(rate, learned=0.5))


def test_a_plateau_is_no_shallow_loss():
    """Where the parabola's minimum is worth nothing, a longer step would gain nothing."""
    t = trace(1e-5, constant=5.5e4)
    assert not UpdateShape().judge(UpdateShape().measure(t), t)
