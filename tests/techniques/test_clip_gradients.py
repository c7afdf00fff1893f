"""ClipGradients against torch.nn.utils, step for step, and a vector computed by hand."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import clip_grad_norm_, clip_grad_value_

from equipoise import techniques as T
from equipoise.data import Data
from equipoise.technique import At

from ..stepping import EXECUTORS, backward, cohort_of, gap_to_torch, params_of, steps

THEIRS = {"value": clip_grad_value_, "norm": clip_grad_norm_}


@pytest.mark.parametrize("executor", EXECUTORS)
@pytest.mark.parametrize(("by", "thresholds"), [("value", (0.05, 0.5)), ("norm", (0.2, 2.0))])
def test_equals_torch_step_for_step(by: str, thresholds: tuple[float, ...], executor: Any, targets: Data) -> None:
    clipped = []

    def step(net: nn.Module, optimizers: Sequence[Any], x: Tensor, y: Tensor) -> None:
        threshold, optimizer = optimizers
        backward(net, x, y)
        before = torch.cat([p.grad.flatten() for p in net.parameters()]).clone()
        THEIRS[by](net.parameters(), threshold)
        clipped.append(not torch.equal(before, torch.cat([p.grad.flatten() for p in net.parameters()])))
        optimizer.step()

    gap = gap_to_torch(
        [[T.SGD(0.05), T.ClipGradients(c, by=by)] for c in thresholds],
        [lambda net, c=c: [c, torch.optim.SGD(net.parameters(), lr=0.05)] for c in thresholds],
        targets,
        executor,
        step,
    )
    assert gap < 1e-10
    assert any(clipped) and not all(clipped)


def test_vectors() -> None:
    """g = (3, 4): norm 5, so a threshold of 1 leaves (.6, .8); by value at 3.5 it is (3, 3.5)."""
    g = {"a": torch.tensor([3.0], dtype=torch.float64), "b": torch.tensor([-4.0], dtype=torch.float64)}
    one = T.ClipGradients(1.0, by="norm").grads(g, g, At())
    assert float(one["a"]) == pytest.approx(0.6, rel=1e-6)
    assert float(one["b"]) == pytest.approx(-0.8, rel=1e-6)
    ceiling = T.ClipGradients(3.5).grads(g, g, At())
    assert (float(ceiling["a"]), float(ceiling["b"])) == (3.0, -3.5)


@pytest.mark.parametrize("by", ["value", "norm"])
def test_infinity_is_off_bit_for_bit(by: str, targets: Data) -> None:
    ends = []
    for more in ([], [T.ClipGradients(by=by).switched_off()]):
        cohort = cohort_of([[T.SGD(0.1), *more]], targets)
        list(steps(cohort, 2))
        ends.append(params_of(cohort))
    assert all(torch.equal(ends[0][n], ends[1][n]) for n in ends[0])


@pytest.mark.parametrize("by", ["value", "norm"])
@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_a_failure_is_not_hidden(by: str, bad: float) -> None:
    """NaN stays NaN; an infinite norm leaves a NaN where the infinity was; a ceiling mends an infinity."""
    g = {"w": torch.tensor([1.0, bad])}
    out = T.ClipGradients(2.0, by=by).grads(g, g, At())["w"]
    assert out.dtype == torch.float32
    assert bool(out.isfinite().all()) == (by == "value" and bad == float("inf"))
