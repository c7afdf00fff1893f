"""L2 against the closed form of ridge regression, scikit-learn, and plain PyTorch; and what it leaves alone."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.func import functional_call

from equipoise import techniques as T
from equipoise.data import Data
from equipoise.sites import Network
from equipoise.technique import At

from ..models_of_users import OwnLayers, Shared, Transformer, mlp
from ..noise_support import OneStep, bound
from ..penalty_support import descend, regression, weight


@pytest.mark.parametrize("alpha", [0.1, 1.0, 4.0])
def test_weights_shrink_by_the_curvature_over_itself_and_alpha(alpha: float):
    """Mean squared error on orthogonal features has curvature h = 2: w → h/(h + α) w*; the bias is exempt."""
    truth = torch.tensor([1.0, -0.3, 0.1, 0.0], dtype=torch.float64)
    run = descend(regression(truth, shift=7.0), T.SGD(0.2), T.L2(alpha), epochs=150)
    torch.testing.assert_close(weight(run)[0], 2 / (2 + alpha) * truth, rtol=0, atol=1e-10)
    assert float(run.state["params"]["bias"]) == pytest.approx(7.0, abs=1e-10)


@pytest.mark.parametrize("optimizer", [T.SGD(0.2), T.Momentum(0.1, 0.5)])
def test_on_correlated_features_the_minimum_is_ridge(optimizer: Any):
    """scikit-learn minimizes ‖y − Xw − b‖² + λ‖w‖²; ours is that over n with λ = nα/2, under momentum too."""
    from sklearn.linear_model import Ridge

    data = regression(correlated=True)
    run = descend(data, optimizer, T.L2(0.4), epochs=300)
    x, y = (v.numpy() for v in data.select("fit"))  # type: ignore[union-attr]
    ridge = Ridge(alpha=len(x) * 0.4 / 2).fit(x, y[:, 0])
    torch.testing.assert_close(weight(run)[0], torch.tensor(ridge.coef_), rtol=0, atol=1e-9)


def gradient(build: Callable[[], nn.Module], x: Any, **fields: Any) -> dict[str, Tensor]:
    """The gradient of the penalty alone, by the name of the parameter."""
    net = Network(build(), x)
    params = {n: p.detach().requires_grad_() for n, p in net.module.named_parameters() if p.requires_grad}
    bound(T.L2(0.3, **fields)).penalty(params, At(net)).backward()
    return {n: torch.zeros_like(p) if p.grad is None else p.grad / 0.3 for n, p in params.items()}


def test_it_means_affine_weights_unless_asked():
    """A model with its own batch norm: γ, β and biases are exempt; "affine" takes biases; "all" takes γ and β too."""
    x = torch.randn(6, 2, 8, 8)
    model = OwnLayers()
    values = dict(model.named_parameters())
    norm = {n for n in values if n.startswith("bn")}
    matrices = {n for n, p in values.items() if p.dim() > 1}
    assert norm and matrices and not norm & matrices
    for on, meant in (("weights", matrices), ("affine", set(values) - norm), ("all", set(values))):
        grads = gradient(lambda: model, x, on=on)
        for n, g in grads.items():
            torch.testing.assert_close(g, values[n].detach() if n in meant else torch.zeros_like(g), rtol=1e-5, atol=0)


def test_it_reaches_weights_that_no_site_does_and_tied_ones_once():
    grads = gradient(Transformer, torch.randn(4, 5, 4))
    attention = [n for n in grads if n.endswith("in_proj_weight")]
    assert attention and all(g.abs().sum() > 0 for n, g in grads.items() if n in attention)
    assert all(g.abs().sum() == 0 for n, g in grads.items() if "norm" in n)
    shared = Shared()
    g = gradient(lambda: shared, torch.randn(4, 6))
    torch.testing.assert_close(g["enc.weight"], shared.enc.weight.detach(), rtol=1e-5, atol=0)
    assert "fixed.weight" not in g


def test_a_step_of_a_network_adds_the_penalty_to_loss_and_gradient(table: Data):
    step = OneStep(mlp, table, T.L2(0.05))
    params = {k: v.clone().requires_grad_() for k, v in step.before.items()}
    squares = sum(p.square().sum() for p in params.values() if p.dim() == 2)
    output = functional_call(mlp().double(), params, (step.standardized,))
    loss = nn.functional.cross_entropy(output, step.now.y) + 0.05 / 2 * squares
    loss.backward()
    torch.testing.assert_close(step.loss, loss.detach(), rtol=1e-12, atol=1e-12)
    for k, v in params.items():
        torch.testing.assert_close(step.after[k], (v - 0.5 * v.grad).detach(), rtol=1e-12, atol=1e-13)  # type: ignore[operator]
