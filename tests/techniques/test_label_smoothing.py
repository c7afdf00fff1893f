"""LabelSmoothing against torch's own, beside MixUp, and in a training step."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from equipoise import techniques as T
from equipoise.data import Data
from equipoise.errors import EquipoiseError
from equipoise.recipe import Recipe, resolve
from equipoise.technique import At, Batch

from ..stepping import EXECUTORS, cohort_of, params_of, plain, steps


@pytest.mark.parametrize("epsilon", [0.0, 0.1, 0.7])
def test_the_loss_equals_torch(epsilon: float) -> None:
    g = torch.Generator().manual_seed(3)
    z, labels = torch.randn(11, 4, generator=g, dtype=torch.float64), torch.randint(4, (11,), generator=g)
    batch = Batch(z, torch.eye(4).double()[labels], torch.ones(11).double())
    smooth = T.LabelSmoothing(epsilon).batch(batch, At())
    torch.testing.assert_close(smooth.y.sum(-1), torch.ones(11).double())
    ours = T.CrossEntropy().loss(z, smooth, At())
    torch.testing.assert_close(ours, F.cross_entropy(z, labels, label_smoothing=epsilon), rtol=1e-12, atol=0)


def test_a_row_without_a_label_stays_without() -> None:
    y = torch.tensor([[0.0, 0.0, 0.0], [0.0, 0.4, 0.0]])
    smooth = T.LabelSmoothing(0.3).batch(Batch(None, y, torch.ones(2)), At()).y
    torch.testing.assert_close(smooth, torch.tensor([[0.0, 0.0, 0.0], [0.04, 0.32, 0.04]]))


def test_off_leaves_every_target_as_it_is_bit_for_bit() -> None:
    y = torch.softmax(torch.randn(9, 5, generator=torch.Generator().manual_seed(1)), -1)
    t = T.LabelSmoothing().switched_off()
    assert torch.equal(t.batch(Batch(None, y, torch.ones(9)), At()).y, y)


def classes() -> nn.Module:
    return nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 3))


@pytest.mark.parametrize("executor", EXECUTORS)
def test_training_equals_torch_step_for_step(executor: Any, table: Data) -> None:
    """SGD on torch's smoothed cross-entropy, 50 steps, two strengths."""
    strengths = (0.1, 0.5)
    cohort = cohort_of(
        [[T.SGD(0.2), T.LabelSmoothing(e)] for e in strengths], table, executor, build=classes, epochs=10
    )
    nets = [plain(cohort, i, classes) for i in range(2)]
    for now in steps(cohort):
        for i, (net, e) in enumerate(zip(nets, strengths, strict=True)):
            net.zero_grad()
            rows = now.rows[i]
            F.cross_entropy(net(table.x[rows].double()), table.y[rows], label_smoothing=e).backward()  # type: ignore[index]
            with torch.no_grad():
                for n, p in net.named_parameters():
                    p -= 0.2 * p.grad  # type: ignore[operator]
                    assert float((p - params_of(cohort, i)[n]).abs().max()) < 1e-10


def test_it_is_for_classes() -> None:
    with pytest.raises(EquipoiseError, match="is for classify"):
        resolve(Recipe(T.LabelSmoothing()), "regress")
    with pytest.raises(EquipoiseError, match="epsilon=0 switches it off"):
        T.LabelSmoothing(1.0)
