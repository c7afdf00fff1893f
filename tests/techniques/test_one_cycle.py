"""OneCycle against torch's scheduler, in a training run."""

from __future__ import annotations

import pytest
import torch
from torch.optim import lr_scheduler

from equipoise import techniques as T
from equipoise.data import Data

from ..stepping import our_rates, torch_rates


@pytest.mark.parametrize(("warm", "divide", "end"), [(0.3, 25.0, 1e4), (0.1, 10.0, 100.0), (0.55, 1.0, 1.0)])
def test_equals_torch(warm: float, divide: float, end: float, targets: Data) -> None:
    def cycle(o: torch.optim.Optimizer) -> lr_scheduler.OneCycleLR:
        return lr_scheduler.OneCycleLR(
            o, 0.4, total_steps=100, pct_start=warm, div_factor=divide, final_div_factor=end, cycle_momentum=False
        )

    theirs = torch_rates(cycle, 99)
    ours = our_rates(T.OneCycle(warm, divide, end), data=targets)
    assert ours[:99] == pytest.approx(theirs, rel=1e-10)
    assert ours[99] == pytest.approx(0.4 / divide / end, rel=1e-10)


def test_off_is_a_constant_rate() -> None:
    rate = torch.full((9,), 0.3, dtype=torch.float64)
    assert torch.equal(T.OneCycle().switched_off().schedule(torch.arange(9.0), 9, rate), rate)


@pytest.mark.parametrize("steps", [1, 2, 3])
@pytest.mark.parametrize("warm", [0.0, 0.3, 1.0])
def test_very_short_runs_have_finite_rates(steps: int, warm: float) -> None:
    rates = T.OneCycle(warm).schedule(torch.arange(float(steps)), steps, torch.ones(steps))
    assert bool((rates.isfinite() & (rates > 0) & (rates <= 1)).all())
