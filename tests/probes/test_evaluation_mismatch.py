"""Prediction against training mode: batch norm with running statistics that were never updated, and the gates."""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any

import pytest

from equipoise.probes.evaluation_mismatch import EvaluationMismatch


def trace(evaluated: float, loss: float, step: int = 200) -> Any:
    last = SimpleNamespace(step=step, loss=loss, evaluated=evaluated)
    return SimpleNamespace(last=last, constant=2.0, failed="", recipe=())


@pytest.mark.parametrize(
    ("evaluated", "loss", "step", "fires"),
    [
        (1.8, 0.5, 200, True),
        (0.9, 0.5, 200, False),  # 1.8 times: within the threshold
        (1e-3, 1e-5, 200, False),  # a converged net: 100 times, of nothing
        (1.8, 0.5, 5, False),  # the running averages have not had the time
    ],
)
def test_the_rule(evaluated: float, loss: float, step: int, fires: bool):
    probe, t = EvaluationMismatch(), trace(evaluated, loss, step)
    measures = probe.measure(t)
    assert measures[0].value == pytest.approx(evaluated / loss)
    assert measures[1].value == pytest.approx((evaluated - loss) / 2.0)
    assert bool(probe.judge(measures, t)) == fires


def test_no_loss_at_all_is_no_mismatch():
    t = trace(0.0, 0.0)
    assert math.isnan(EvaluationMismatch().measure(t)[0].value)
    assert not EvaluationMismatch().judge(EvaluationMismatch().measure(t), t)
