"""Nesterov against torch.optim step for step, the deck's look-ahead form, and SGD at α = 0."""

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
        [[T.Nesterov(r, a)] for r, a in knobs],
        [lambda net, r=r, a=a: [torch.optim.SGD(net.parameters(), lr=r, momentum=a, nesterov=True)] for r, a in knobs],
        targets,
        executor,
    )
    assert gap < 1e-10


def test_its_iterate_is_the_decks_look_ahead_point() -> None:
    """u ← αu − ε g(φ + αu), φ ← φ + u, as D3 prints it: our θ is φ + αu after every step."""
    a, e, t = 0.9, 0.05, T.Nesterov(0.05, 0.9)
    h = torch.tensor([1.0, 7.0], dtype=torch.float64)
    phi, u = torch.tensor([1.0, -2.0], dtype=torch.float64), torch.zeros(2, dtype=torch.float64)
    ours = {"w": phi.clone()}
    state = t.start(ours, None)
    for _ in range(50):
        u = a * u - e * h * (phi + a * u)
        phi = phi + u
        ours, state = t.update({"w": h * ours["w"]}, state, ours, At(rate=torch.tensor(e, dtype=torch.float64)))
        torch.testing.assert_close(ours["w"], phi + a * u, rtol=0, atol=1e-14)


@pytest.mark.parametrize("executor", EXECUTORS)
def test_without_momentum_it_is_sgd_bit_for_bit(executor: Any, targets: Data) -> None:
    runs = [
        cohort_of([[o(0.05, **k)]] * 2, targets, executor) for o, k in ((T.SGD, {}), (T.Nesterov, {"momentum": 0.0}))
    ]
    for _ in zip(*(steps(r, 4) for r in runs), strict=True):
        sgd, nesterov = (params_of(r, 1) for r in runs)
        assert all(torch.equal(sgd[n], nesterov[n]) for n in sgd)
