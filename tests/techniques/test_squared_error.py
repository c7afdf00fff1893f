"""SquaredError against torch's mean squared error and the Brier score, for regression and for classes."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F

import equipoise as eq
from equipoise import metrics
from equipoise import techniques as T
from equipoise.data import Data
from equipoise.technique import At, Batch


def test_regression_equals_torch() -> None:
    g = torch.Generator().manual_seed(0)
    f, y, w = (torch.randn(s, generator=g, dtype=torch.float64) for s in ((9, 3), (9, 3), (9,)))
    regress = At(task="regress")
    plain = T.SquaredError().loss(f, Batch(None, y, torch.ones(9).double()), regress)
    torch.testing.assert_close(plain, F.mse_loss(f, y), rtol=1e-13, atol=0)
    weighted = T.SquaredError().loss(f, Batch(None, y, w.abs()), regress)
    torch.testing.assert_close(weighted, (w.abs() * ((f - y) ** 2).mean(1)).sum() / w.abs().sum())


def test_on_probabilities_it_is_the_brier_score_over_the_classes() -> None:
    g = torch.Generator().manual_seed(1)
    z, labels = torch.randn(40, 5, generator=g, dtype=torch.float64), torch.randint(5, (40,), generator=g)
    loss = T.SquaredError().loss(z, Batch(None, torch.eye(5).double()[labels], torch.ones(40).double()), At())
    brier = metrics.score("brier", torch.softmax(z, -1).numpy(), labels.numpy())
    assert float(loss) == pytest.approx(float(brier) / 5, rel=1e-12)


def test_on_logits_the_outputs_are_regressed_and_read_as_probabilities() -> None:
    z, y = torch.tensor([[0.9, 0.3, -0.4], [2.0, 0.0, -1.0], [-1.0, -1.0, -1.0]]), torch.eye(3)
    t = T.SquaredError(on="logits")
    loss = t.loss(z, Batch(None, y, torch.ones(3)), At())
    torch.testing.assert_close(loss, F.mse_loss(z, y))
    p = t.probabilities(z)
    torch.testing.assert_close(
        p, torch.tensor([[0.75, 0.25, 0.0], [1.0, 0.0, 0.0], [1 / 3, 1 / 3, 1 / 3]]), atol=1e-5, rtol=0
    )
    assert bool((p > 0).all())


@pytest.mark.parametrize("on", ["probabilities", "logits"])
def test_classification_trains_on_it(on: str, table: Data) -> None:
    run = eq.train("mlp(hidden=(16,))", [T.SquaredError(on=on), T.Adam(0.02)], table, epochs=25)
    p = run.predict(table.x)
    np.testing.assert_allclose(p.sum(1), 1, atol=1e-6)
    assert run.score("stop")["accuracy"] > 0.7 > run.history[0]["stop_accuracy"] - 0.2
