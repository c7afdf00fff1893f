"""Lookahead against its algorithm written by hand around torch.optim, and its off."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from equipoise import techniques as T
from equipoise.data import Data
from equipoise.errors import EquipoiseError

from ..stepping import EXECUTORS, cohort_of, gap_to_torch, params_of, steps


class Slow:
    """Algorithm 1 of Zhang et al. (2019): φ_t = φ_{t−1} + α(θ_{t,k} − φ_{t−1}), θ_{t,0} = φ_{t−1}."""

    def __init__(self, net: nn.Module, alpha: float, k: int) -> None:
        self.params, self.alpha, self.k, self.made = list(net.parameters()), alpha, k, 0
        self.phi = [p.detach().clone() for p in self.params]

    def step(self) -> None:
        self.made += 1
        if self.made % self.k == 0:
            for phi, p in zip(self.phi, self.params, strict=True):
                phi.add_(self.alpha * (p.detach() - phi))
                p.data.copy_(phi)


@pytest.mark.parametrize("executor", EXECUTORS)
def test_equals_the_algorithm_step_for_step(executor: Any, targets: Data) -> None:
    knobs = (0.5, 0.8)
    gap = gap_to_torch(
        [[T.Momentum(0.05, 0.9), T.Lookahead(a, k=7)] for a in knobs],
        [lambda net, a=a: [torch.optim.SGD(net.parameters(), lr=0.05, momentum=0.9), Slow(net, a, 7)] for a in knobs],
        targets,
        executor,
    )
    assert gap < 1e-10


def test_it_acts_after_the_optimizer_wherever_it_stands(targets: Data) -> None:
    recipe = [T.Adam(0.01), T.Lookahead(0.5, k=3)]
    ends = []
    for order in (recipe, recipe[::-1]):
        cohort = cohort_of([order], targets)
        list(steps(cohort, 2))
        ends.append(params_of(cohort))
    assert all(torch.equal(ends[0][n], ends[1][n]) for n in ends[0])


def test_off_is_the_optimizer_alone_bit_for_bit(targets: Data) -> None:
    ends = []
    for more in ([], [T.Lookahead().switched_off()]):
        cohort = cohort_of([[T.Adam(0.01), *more]], targets)
        list(steps(cohort, 2))
        ends.append(params_of(cohort))
    assert all(torch.equal(ends[0][n], ends[1][n]) for n in ends[0])


def test_k_is_counted_in_steps() -> None:
    for k in (0, -1, 2.5, True):
        with pytest.raises(EquipoiseError, match="k is a whole number from 1"):
            T.Lookahead(k=k)  # type: ignore[arg-type]
