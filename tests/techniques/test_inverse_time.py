"""InverseTime against the rates 1/(1 + t/τ), in a training run."""

from __future__ import annotations

import pytest
import torch
from torch.optim import lr_scheduler

from equipoise import techniques as T
from equipoise.data import Data

from ..stepping import our_rates, torch_rates


@pytest.mark.parametrize("tau", [10.0, 50.0, float("inf")])
def test_equals_one_over_time(tau: float, targets: Data) -> None:
    theirs = torch_rates(lambda o: lr_scheduler.LambdaLR(o, lambda t: 1 / (1 + t / tau)), 100)
    assert our_rates(T.InverseTime(100 / tau), data=targets) == pytest.approx(theirs, rel=1e-12)


def test_with_the_step_as_its_unit_it_is_the_rate_of_a_running_mean() -> None:
    """ε = 1, c = T: ε_t = 1/(1 + t)."""
    rates = T.InverseTime(50.0).schedule(torch.arange(50.0, dtype=torch.float64), 50, torch.ones(50).double())
    assert rates.tolist() == pytest.approx([1 / (1 + t) for t in range(50)], rel=1e-14)


def test_off_is_a_constant_rate() -> None:
    rate = torch.full((7,), 0.3, dtype=torch.float64)
    assert torch.equal(T.InverseTime().switched_off().schedule(torch.arange(7.0), 7, rate), rate)
