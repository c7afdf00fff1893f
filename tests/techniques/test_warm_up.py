"""WarmUp against torch's scheduler, alone and times a schedule, in a training run."""

from __future__ import annotations

import pytest
import torch
from torch.optim import lr_scheduler

from equipoise import techniques as T
from equipoise.data import Data
from equipoise.errors import EquipoiseError
from equipoise.recipe import Recipe

from ..stepping import our_rates, torch_rates


@pytest.mark.parametrize(("first", "length", "steps"), [(1 / 32, 0.05, 5), (0.25, 0.4, 40), (1.0, 0.1, 10)])
def test_equals_torch(first: float, length: float, steps: int, targets: Data) -> None:
    theirs = torch_rates(lambda o: lr_scheduler.LinearLR(o, first, 1.0, steps), 100)
    assert our_rates(T.WarmUp(first, length), data=targets) == pytest.approx(theirs, rel=1e-12)


def test_it_multiplies_the_schedule(targets: Data) -> None:
    def both(o: torch.optim.Optimizer) -> lr_scheduler.ChainedScheduler:
        return lr_scheduler.ChainedScheduler(
            [lr_scheduler.LinearLR(o, 0.1, 1.0, 20), lr_scheduler.ExponentialLR(o, 0.05 ** (1 / 100))], o
        )

    for order in ([T.WarmUp(0.1, 0.2), T.Exponential(0.05)], [T.Exponential(0.05), T.WarmUp(0.1, 0.2)]):
        assert our_rates(*order, data=targets) == pytest.approx(torch_rates(both, 100), rel=1e-12)


def test_a_length_of_zero_and_a_first_of_one_do_nothing() -> None:
    rate = torch.full((7,), 0.3, dtype=torch.float64)
    for t in (T.WarmUp(0.1, 0.0), T.WarmUp().switched_off()):
        assert torch.equal(t.schedule(torch.arange(7.0), 7, rate), rate)


def test_it_has_a_slot_of_its_own() -> None:
    Recipe(T.WarmUp(), T.Cosine())
    with pytest.raises(EquipoiseError, match="slot 'warm-up', which holds one entry"):
        Recipe(T.WarmUp(0.1), T.WarmUp(0.2))
