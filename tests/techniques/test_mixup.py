"""MixUp against pairs mixed by hand, the Beta distribution of SciPy, and a training step computed by plain PyTorch."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from scipy.stats import beta, kstest
from torch import Tensor, nn
from torch.func import functional_call

from equipoise import techniques as T
from equipoise.data import Data
from equipoise.errors import EquipoiseError
from equipoise.technique import At, Batch

from ..models_of_users import mlp
from ..noise_support import OneStep, bound

X = torch.arange(35.0, dtype=torch.float64).view(5, 7) ** 2
Y = torch.softmax(torch.arange(15.0, dtype=torch.float64).view(5, 3).sin(), -1)
W = torch.tensor([1.0, 2.0, 0.5, 0.0, 3.0], dtype=torch.float64)


def mix(lam: Any, x: Any = X, y: Tensor = Y, w: Tensor = W, **fields: Any) -> Batch:
    host = torch.as_tensor(lam, dtype=torch.float64)
    return bound(T.MixUp(**fields)).batch(Batch(x, y, w), At(host=host))


def test_one_share_for_the_batch():
    out = mix(0.3)
    for i in range(5):
        for got, v in ((out.x, X), (out.y, Y), (out.w, W)):
            torch.testing.assert_close(got[i], 0.3 * v[i] + 0.7 * v[i - 1], rtol=1e-14, atol=0)


def test_a_share_for_every_pair():
    lam = [0.0, 0.25, 0.5, 0.9, 1.0]
    out = mix(lam, per="pair")
    for i, s in enumerate(lam):
        for got, v in ((out.x, X), (out.y, Y), (out.w, W)):
            torch.testing.assert_close(got[i], s * v[i] + (1 - s) * v[i - 1], rtol=1e-14, atol=0)
    assert torch.equal(out.x[4], X[4])


@pytest.mark.parametrize("per", ["batch", "pair"])
def test_a_share_of_1_is_the_identity_bit_for_bit(per: str):
    infinite = torch.where(X > 500, torch.inf, X)  # the partner is not even touched
    out = mix(1.0 if per == "batch" else [1.0] * 5, infinite, per=per)
    assert torch.equal(out.x, infinite) and torch.equal(out.y, Y) and torch.equal(out.w, W)


def test_labels_sum_to_1():
    torch.testing.assert_close(mix(0.37).y.sum(1), torch.ones(5, dtype=torch.float64), rtol=1e-14, atol=0)


def test_a_batch_of_one_mixes_with_itself():
    out = mix(0.3, X[:1], Y[:1], W[:1])
    torch.testing.assert_close(out.x, X[:1], rtol=1e-14, atol=0)
    torch.testing.assert_close(out.y, Y[:1], rtol=1e-14, atol=0)


def test_every_floating_input_is_mixed():
    images = torch.rand(5, 2, 3, 4, dtype=torch.float64)
    out = mix(0.3, (X, images))
    torch.testing.assert_close(out.x[1][0], 0.3 * images[0] + 0.7 * images[4], rtol=1e-14, atol=0)


@pytest.mark.parametrize("a", [0.1, 0.2, 1.0, 8.0])
def test_the_share_is_beta_distributed(a: float):
    u = (np.random.default_rng(0).permutation(4000) + 0.5) / 4000
    lam = T.MixUp(a).host(u)
    assert kstest(lam, beta(a, a).cdf).pvalue > 1e-6
    assert float(np.var(lam)) == pytest.approx(1 / (4 * (2 * a + 1)), rel=2e-2)


def test_off_is_a_share_of_1():
    assert (T.MixUp(0.0).host(np.array([0.0, 0.5])) == 1).all()
    assert T.MixUp(per="batch").host_draws == "step" and T.MixUp(per="pair").host_draws == "row"


@pytest.mark.parametrize("per", ["batch", "pair"])
def test_training_takes_the_step_of_the_mixed_batch(per: str, table: Data):
    step = OneStep(mlp, table, T.MixUp(0.8, per=per))
    lam = step.now.host["MixUp"].double()
    assert lam.shape == (() if per == "batch" else (16,)) and 0 < float(lam.max()) < 1
    lam = lam.expand(16)[:, None]
    x, y = step.standardized, torch.eye(3, dtype=torch.float64)[step.now.y]
    x, y = lam * x + (1 - lam) * x[torch.arange(16) - 1], lam * y + (1 - lam) * y[torch.arange(16) - 1]
    params = {k: v.clone().requires_grad_() for k, v in step.before.items()}
    loss = nn.functional.cross_entropy(functional_call(mlp().double(), params, (x,)), y)
    loss.backward()
    torch.testing.assert_close(step.loss, loss.detach(), rtol=1e-12, atol=1e-12)
    for k, v in params.items():
        torch.testing.assert_close(step.after[k], (v - 0.5 * v.grad).detach(), rtol=1e-11, atol=1e-12)  # type: ignore[operator]


def test_regression_targets_are_mixed(targets: Data):
    build = lambda: nn.Linear(6, 2)  # noqa: E731
    step = OneStep(build, targets, T.MixUp(0.8))
    lam, before = step.now.host["MixUp"].double(), torch.arange(16) - 1
    fit = step.fitted["Targets"]
    x, y = step.standardized, (step.now.y.double() - fit["mean"]) / fit["std"]
    x, y = lam * x + (1 - lam) * x[before], lam * y + (1 - lam) * y[before]
    f = x @ step.before["weight"].T + step.before["bias"]
    torch.testing.assert_close(step.loss, ((f - y) ** 2).mean(), rtol=1e-12, atol=1e-12)


def test_tokens_are_refused():
    with pytest.raises(EquipoiseError, match=r"MixUp\(\) combines numbers, but input 1 holds tokens"):
        T.MixUp().fit((X, torch.zeros(5, 3, dtype=torch.int64)), Y, None)  # type: ignore[arg-type]
    assert T.MixUp().fit(torch.zeros(5, 1, 3, 3, dtype=torch.uint8), Y, None) == {}  # type: ignore[arg-type]
