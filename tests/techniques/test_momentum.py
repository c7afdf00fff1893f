"""Momentum against torch.optim step for step, the deck's form, and SGD at α = 0."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from equipoise import techniques as T
from equipoise.data import Data
from equipoise.technique import At

from ..stepping import EXECUTORS, cohort_of, gap_to_torch, params_of, steps


@pytest.mark.parametrize("executor", EXECUTORS)
def test_equals_torch_step_for_step(executor: Any, targets: Data) -> None:
    knobs = ((0.05, 0.9), (0.02, 0.5))
    gap = gap_to_torch(
        [[T.Momentum(r, a)] for r, a in knobs],
        [lambda net, r=r, a=a: [torch.optim.SGD(net.parameters(), lr=r, momentum=a)] for r, a in knobs],
        targets,
        executor,
    )
    assert gap < 1e-10


def test_at_a_constant_rate_it_is_the_decks_form() -> None:
    """v ← αv − εg, θ ← θ + v on a quadratic, against our update."""
    a, e, t = 0.9, 0.05, T.Momentum(0.05, 0.9)
    theirs, velocity = torch.tensor([1.0, -2.0], dtype=torch.float64), torch.zeros(2, dtype=torch.float64)
    ours, h = {"w": theirs.clone()}, torch.tensor([1.0, 7.0], dtype=torch.float64)
    state = t.start(ours, None)
    for _ in range(50):
        velocity = a * velocity - e * h * theirs
        theirs = theirs + velocity
        ours, state = t.update({"w": h * ours["w"]}, state, ours, At(rate=torch.tensor(e, dtype=torch.float64)))
        torch.testing.assert_close(ours["w"], theirs, rtol=0, atol=1e-14)


@pytest.mark.parametrize("executor", EXECUTORS)
def test_without_momentum_it_is_sgd_bit_for_bit(executor: Any, targets: Data) -> None:
    runs = [
        cohort_of([[o(0.05, **k)]] * 2, targets, executor) for o, k in ((T.SGD, {}), (T.Momentum, {"momentum": 0.0}))
    ]
    for _ in zip(*(steps(r, 4) for r in runs), strict=True):
        sgd, momentum = (params_of(r, 1) for r in runs)
        assert all(torch.equal(sgd[n], momentum[n]) for n in sgd)
