"""Vector A-17: a bias of −100 kills every unit, He with zero bias none."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest
import torch
from torch import nn

from equipoise.probes.dead_units import DEAD, DeadUnits, dead, silent


@pytest.mark.parametrize(("bias", "fan_in", "expected"), [(-100.0, 8, 1.0), (0.0, 8, 0.0), (0.0, 64, 0.0)])
def test_the_share_of_dead_units(bias: float, fan_in: int, expected: float):
    torch.manual_seed(0)
    layer = nn.Linear(fan_in, 256)
    nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
    nn.init.constant_(layer.bias, bias)
    a = torch.relu(layer(torch.randn(512, fan_in)))
    a.square().sum().backward()
    assert layer.weight.grad is not None
    assert float(dead(a.detach(), layer.weight.grad).double().mean()) == expected


def test_a_unit_that_answers_once_or_gets_a_gradient_is_alive():
    a = torch.zeros(6, 3)
    a[5, 0] = 0.1
    gradient = torch.tensor([[0.0, 0.0], [0.0, 1e-9], [0.0, 0.0]])
    assert dead(a, gradient).tolist() == [False, False, True]


def test_the_share_that_starts_dead():
    """Of the ReLU layer one unit of two; the output layer and others are not read."""
    layers = [
        SimpleNamespace(a=torch.tensor([[0.0, 1.0], [0.0, 0.0]]), activation="relu", is_output=False),
        SimpleNamespace(a=torch.zeros(2, 3), activation="relu", is_output=True),
        SimpleNamespace(a=torch.zeros(2, 3), activation="tanh", is_output=False),
    ]
    assert silent(SimpleNamespace(layers=layers)) == 0.5  # type: ignore[arg-type]
    assert silent(SimpleNamespace(layers=layers[1:])) == 0.0  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("share", "learned", "severity", "inside"),
    [
        (0.6, 0.4, "warning", None), (0.6, 0.6, None, None), (0.5, 0.4, None, None),
        (0.9, 0.4, "fault", "fault"), (0.9, 0.7, "fault", None), (0.9, 0.8, None, None),
    ],
)  # fmt: skip
def test_units_to_spare_may_die(share: float, learned: float, severity: str | None, inside: str | None):
    """``inside``: of a layer in a residual branch, which signal and gradient go around."""
    probe = DeadUnits()
    for bypassed, expected in ((False, severity), (True, inside)):
        layer = SimpleNamespace(name="0", bypassed=bypassed)
        moments = {"first": SimpleNamespace(layers=[]), "last": SimpleNamespace(layers=[layer])}
        trace = cast(Any, SimpleNamespace(learned=learned, **moments))
        found = probe.judge([probe.number("0", share, DEAD, probe.warn)], trace)
        assert [f.severity for f in found] == ([expected] if expected else [])
