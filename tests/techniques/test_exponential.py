"""Exponential against torch's scheduler, in a training run."""

from __future__ import annotations

import pytest
import torch
from torch.optim import lr_scheduler

from equipoise import techniques as T
from equipoise.data import Data

from ..stepping import our_rates, torch_rates


@pytest.mark.parametrize("final", [0.01, 0.3, 1.0])
def test_equals_torch(final: float, targets: Data) -> None:
    theirs = torch_rates(lambda o: lr_scheduler.ExponentialLR(o, final ** (1 / 100)), 100)
    assert our_rates(T.Exponential(final), data=targets) == pytest.approx(theirs, rel=1e-12)


def test_off_is_a_constant_rate() -> None:
    rate = torch.full((7,), 0.3, dtype=torch.float64)
    assert torch.equal(T.Exponential().switched_off().schedule(torch.arange(7.0), 7, rate), rate)
