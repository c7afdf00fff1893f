"""A user's own loss, metric and technique in Python: a subclass and a `Metric`, nothing is registered."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

import equipoise as eq
from equipoise import techniques as T
from equipoise.data import Data
from equipoise.metrics import Metric, score
from equipoise.plan import Options
from equipoise.stage import At, Batch

from .models_of_users import mlp


class Focal(eq.Technique):
    """Focal loss: −Σ_c y_c (1 − p_c)^γ ln p_c (Lin et al. 2017)."""

    slot = "objective"
    gamma: float = eq.knob(2.0, low=0.0)

    def loss(self, output: Tensor, batch: Batch, at: At) -> Tensor:
        log_p = output.log_softmax(-1)
        rows = -(batch.y * (1 - log_p.exp()) ** self.gamma * log_p).sum(-1)
        return (rows * batch.w).sum() / batch.w.sum()


def test_a_loss_of_ones_own(table: Data) -> None:
    """At γ = 0 it is the cross-entropy, bit for bit in the trained weights; at 2 it is not."""
    plain = eq.train(mlp, eq.Recipe(T.SGD(0.1)), table, epochs=2, options=Options(precision="float64"))
    same = eq.train(mlp, eq.Recipe(T.SGD(0.1), Focal(0.0)), table, epochs=2, options=Options(precision="float64"))
    other = eq.train(mlp, eq.Recipe(T.SGD(0.1), Focal()), table, epochs=2, options=Options(precision="float64"))
    for k, v in plain.state["params"].items():
        torch.testing.assert_close(same.state["params"][k], v, rtol=0, atol=1e-12)
        assert not torch.equal(other.state["params"][k], v)
    assert same.recipe.holder("objective") == Focal(0.0)


def test_a_metric_of_ones_own(table: Data) -> None:
    miss = Metric("miss", "classify", "lower", lambda p, y: (p.argmax(-1) != y).astype(float))
    run = eq.train(mlp, None, table, epochs=1)
    x, y = table.select("assess")
    assert np.isclose(score(miss, run.predict(x), y.numpy()), 1 - run.score("assess")["accuracy"])


def test_frozen_parameters_are_not_trained(table: Data) -> None:
    def frozen() -> torch.nn.Module:
        net = mlp()
        net[0].requires_grad_(False)  # type: ignore[index]
        return net

    net = frozen()
    run = eq.train(net, eq.Recipe(T.SGD(0.5)), table, epochs=1)
    assert torch.equal(run.model[0].weight, net[0].weight) and not torch.equal(run.model[2].weight, net[2].weight)  # type: ignore[index]
