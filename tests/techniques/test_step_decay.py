"""StepDecay against torch's scheduler, in a training run."""

from __future__ import annotations

import pytest
import torch
from torch.optim import lr_scheduler

from equipoise import techniques as T
from equipoise.data import Data
from equipoise.errors import EquipoiseError

from ..stepping import our_rates, torch_rates


@pytest.mark.parametrize(
    ("factor", "at", "steps"),
    [(0.1, (0.5, 0.75), [50, 75]), (0.3, (0.204, 0.5, 0.9), [21, 50, 90]), (1.0, (0.5,), [50])],
)
def test_equals_torch(factor: float, at: tuple[float, ...], steps: list[int], targets: Data) -> None:
    theirs = torch_rates(lambda o: lr_scheduler.MultiStepLR(o, steps, factor), 100)
    assert our_rates(T.StepDecay(factor, at=at), data=targets) == pytest.approx(theirs, rel=1e-12)


def test_off_is_a_constant_rate() -> None:
    rate = torch.full((7,), 0.3, dtype=torch.float64)
    assert torch.equal(T.StepDecay().switched_off().schedule(torch.arange(7.0), 7, rate), rate)


@pytest.mark.parametrize("at", [(), (0.5, 0.5), (0.75, 0.5), (0.0, 0.5), (0.5, 1.0), ("a",), 0.5, (True,)])
def test_milestones_are_rising_fractions(at: object) -> None:
    with pytest.raises(EquipoiseError, match="fractions of the run between 0 and 1, rising"):
        T.StepDecay(at=at)
