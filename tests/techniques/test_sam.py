"""SAM against two backward passes written by hand, its noise, its buffers and its off."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from equipoise import techniques as T
from equipoise.data import Data
from equipoise.gradients import by_autograd
from equipoise.technique import At

from ..stepping import EXECUTORS, backward, cohort_of, gap_to_torch, params_of, steps


@pytest.mark.parametrize("executor", EXECUTORS)
def test_equals_two_backward_passes_step_for_step(executor: Any, targets: Data) -> None:
    rhos = (0.05, 0.5)

    def step(net: nn.Module, optimizers: Sequence[Any], x: Tensor, y: Tensor) -> None:
        rho, optimizer = optimizers
        backward(net, x, y)
        params = list(net.parameters())
        norm = torch.linalg.vector_norm(torch.cat([p.grad.flatten() for p in params]))
        away = [rho * p.grad / norm for p in params]
        for p, e in zip(params, away, strict=True):
            p.data.add_(e)
        backward(net, x, y)
        for p, e in zip(params, away, strict=True):
            p.data.sub_(e)
        optimizer.step()

    gap = gap_to_torch(
        [[T.SGD(0.05), T.SAM(r)] for r in rhos],
        [lambda net, r=r: [r, torch.optim.SGD(net.parameters(), lr=0.05)] for r in rhos],
        targets,
        executor,
        step,
    )
    assert gap < 1e-10


def test_on_a_quadratic_it_is_the_closed_form() -> None:
    """L = ½θᵀHθ: the gradient at θ + ρ Hθ/‖Hθ‖ is Hθ + ρ HHθ/‖Hθ‖; the loss that is told is the one at θ."""
    h, w = torch.tensor([1.0, 10.0], dtype=torch.float64), torch.tensor([3.0, -0.4], dtype=torch.float64)
    value_and_grad = by_autograd(lambda p: (0.5 * (h * p["w"] ** 2).sum(), {}))
    grads, (loss, _) = T.SAM(0.1).gradient(value_and_grad)({"w": w})
    g = h * w
    torch.testing.assert_close(grads["w"], g + 0.1 * h * g / g.norm(), rtol=1e-11, atol=0)
    assert float(loss) == pytest.approx(0.5 * 9 + 5 * 0.16)


def test_both_passes_draw_the_same_noise(targets: Data) -> None:
    """At a radius of 10⁻⁹ the gradient under dropout is the plain one; another mask would change it entirely."""
    ends = []
    for more in ([], [T.SAM(1e-9)]):
        cohort = cohort_of([[T.SGD(0.1), T.Dropout(0.5), *more]], targets)
        list(steps(cohort, 1))
        ends.append(params_of(cohort))
    assert max(float((ends[0][n] - ends[1][n]).abs().max()) for n in ends[0]) < 1e-7


def test_batch_statistics_are_those_of_the_first_pass(targets: Data) -> None:
    """One update of the running mean a step, by the batch at θ: the first step's is the plain run's."""
    means = []
    for more in ([], [T.SAM(2.0)]):
        cohort = cohort_of([[T.SGD(0.1), T.BatchNorm(), *more]], targets)
        next(steps(cohort))
        means.append(cohort.executor.member(cohort.state, 0)["buffers"])
    assert means[0] and all(torch.equal(means[0][n], means[1][n]) for n in means[0])


def test_off_is_the_run_without_it(targets: Data) -> None:
    ends = []
    for more in ([], [T.SAM().switched_off()]):
        cohort = cohort_of([[T.SGD(0.1), *more]], targets)
        list(steps(cohort, 2))
        ends.append(params_of(cohort))
    assert all(torch.equal(ends[0][n], ends[1][n]) for n in ends[0])


def test_a_zero_gradient_stays_zero() -> None:
    grads, _ = T.SAM(0.5).gradient(lambda p: ({"w": torch.zeros(2)}, (torch.zeros(()), At())))({"w": torch.ones(2)})
    assert torch.equal(grads["w"], torch.zeros(2))
