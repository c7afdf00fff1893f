"""CrossEntropy against torch's, with soft targets and weights, at the edges, and what it is for."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

import equipoise as eq
from equipoise import techniques as T
from equipoise.data import Data
from equipoise.errors import EquipoiseError
from equipoise.technique import At, Batch


def drawn(b: int, c: int, scale: float = 3.0) -> tuple[Tensor, Tensor, Tensor]:
    """Logits, soft targets and row weights."""
    g = torch.Generator().manual_seed(b * 31 + c)
    z, w = scale * torch.randn(b, c, generator=g, dtype=torch.float64), torch.rand(b, generator=g, dtype=torch.float64)
    return z, torch.softmax(torch.randn(b, c, generator=g, dtype=torch.float64), -1), w


@pytest.mark.parametrize(("b", "c"), [(1, 2), (5, 3), (64, 10)])
def test_equals_torch(b: int, c: int) -> None:
    z, y, w = drawn(b, c)
    loss = T.CrossEntropy().loss(z, Batch(None, y, torch.ones(b).double()), At())
    torch.testing.assert_close(loss, F.cross_entropy(z, y), rtol=1e-13, atol=0)
    hard = y.argmax(-1)
    weighted = T.CrossEntropy().loss(z, Batch(None, torch.eye(c).double()[hard], w), At())
    torch.testing.assert_close(weighted, (w * F.cross_entropy(z, hard, reduction="none")).sum() / w.sum())


def test_up_to_the_targets_entropy_it_is_the_kl_divergence() -> None:
    z, y, _ = drawn(7, 4)
    kl = F.kl_div(z.log_softmax(-1), y, reduction="batchmean")
    entropy = -(y * y.log()).sum(-1).mean()
    loss = T.CrossEntropy().loss(z, Batch(None, y, torch.ones(7).double()), At())
    torch.testing.assert_close(loss, kl + entropy)


def test_a_batch_without_weight_asks_for_nothing() -> None:
    z = torch.randn(3, 2, requires_grad=True)
    loss = T.CrossEntropy().loss(z, Batch(None, torch.eye(2)[[0, 1, 0]], torch.zeros(3)), At())
    loss.backward()
    assert float(loss.detach()) == 0
    assert torch.equal(z.grad, torch.zeros(3, 2))  # type: ignore[arg-type]


def test_huge_logits_stay_finite() -> None:
    z = torch.tensor([[1e30, -1e30, 0.0]], requires_grad=True)
    loss = T.CrossEntropy().loss(z, Batch(None, torch.tensor([[0.0, 1.0, 0.0]]), torch.ones(1)), At())
    loss.backward()
    assert bool(loss.isfinite()) and bool(z.grad.isfinite().all())  # type: ignore[union-attr]


def test_it_is_what_classification_trains_on(table: Data) -> None:
    """A full batch: the first epoch's loss is torch's on the untrained network."""
    net = torch.nn.Linear(6, 3)
    rows = table.rows["fit"]
    run = eq.train(net, [T.SGD(0.1)], table, epochs=1, batch_size=len(rows))
    x = table.x[rows]  # type: ignore[index]
    x = (x - x.mean(0)) / x.std(0, correction=0)
    assert run.history[0]["loss"] == pytest.approx(float(F.cross_entropy(net(x), table.y[rows]).detach()), rel=1e-5)


def test_it_is_for_classes(targets: Data) -> None:
    with pytest.raises(EquipoiseError, match="is for classify, but the task is regress"):
        eq.train("mlp", [T.CrossEntropy()], targets, epochs=1)
