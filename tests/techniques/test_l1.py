"""L1 against the closed form of soft-thresholding, scikit-learn's Lasso, and PyTorch's own subgradient."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

import equipoise as eq
from equipoise import techniques as T
from equipoise.data import Data
from equipoise.errors import EquipoiseError
from equipoise.plan import Options
from equipoise.recipe import Recipe, resolve
from equipoise.technique import Empty

from ..penalty_support import descend, linear, regression, weight


def soft(w: Tensor, threshold: float) -> Tensor:
    return torch.where(w.abs() > threshold, w - threshold * w.sign(), 0.0)


# --- the proximal step ------------------------------------------------------------------------------------------------
def test_every_step_is_a_gradient_step_then_a_soft_threshold():
    """Ten steps by hand: rate 0.2, α 0.3, threshold 0.06; biases are left alone."""
    data = regression()
    run = descend(data, T.SGD(0.2), T.L1(0.3), epochs=10)
    x, y = (v.double() for v in data.select("fit"))  # type: ignore[union-attr]
    w, b = (v.double() for v in linear(4)().parameters())
    for _ in range(10):
        error = x @ w.T + b - y
        w, b = soft(w - 0.2 * 2 * error.T @ x / len(x), 0.06), b - 0.2 * 2 * error.mean(0)
    torch.testing.assert_close(weight(run), w, rtol=1e-12, atol=1e-14)
    torch.testing.assert_close(run.state["params"]["bias"], b, rtol=1e-12, atol=1e-14)


def test_on_orthogonal_features_the_minimum_is_soft_thresholded():
    """Curvature 2 per weight (mean squared error of x with XᵀX = nI): w → sgn(w*) max(|w*| − α/2, 0), exact zeros."""
    truth = torch.tensor([1.0, -0.3, 0.1, 0.0, -2.0, 0.149], dtype=torch.float64)
    data = regression(truth)
    w = weight(descend(data, T.SGD(0.2), T.L1(0.3), epochs=120))[0]
    torch.testing.assert_close(w, soft(truth, 0.15), rtol=0, atol=1e-7)
    assert (w == 0).tolist() == [False, False, True, True, False, True]


@pytest.mark.parametrize("alpha", [0.02, 0.2, 0.6])
def test_on_correlated_features_the_minimum_is_the_lasso(alpha: float):
    """scikit-learn minimizes ‖y − Xw − b‖²/2n + α|w|₁, half of ours."""
    from sklearn.linear_model import Lasso

    data = regression(torch.tensor([1.0, -0.5, 0.2, 0.0]), correlated=True)
    run = descend(data, T.SGD(0.2), T.L1(alpha), epochs=250)
    x, y = (v.double().numpy() for v in data.select("fit"))  # type: ignore[union-attr]
    lasso = Lasso(alpha / 2, tol=1e-12, max_iter=10**6).fit(x, y[:, 0])
    torch.testing.assert_close(weight(run)[0], torch.tensor(lasso.coef_), rtol=0, atol=1e-6)
    assert ((weight(run)[0] == 0).numpy() == (lasso.coef_ == 0)).all()
    assert float(run.state["params"]["bias"]) == pytest.approx(float(lasso.intercept_), abs=1e-6)


def test_under_momentum_it_acts_as_the_undamped_part():
    """At rest v = g/(1 − β) and the threshold balances ε v: the Lasso of (1 − β) α, as the page says."""
    truth = torch.tensor([1.0, -0.3, 0.02, 0.0], dtype=torch.float64)
    w = weight(descend(regression(truth), T.Momentum(0.1, 0.8), T.L1(0.5), epochs=250))[0]
    torch.testing.assert_close(w, soft(truth, 0.2 * 0.5 / 2), rtol=0, atol=1e-7)


def test_the_threshold_follows_the_schedule():
    """Under Cosine the last steps threshold less: replayed with the rates of the history."""
    data, steps = regression(), 8
    run = descend(data, T.SGD(0.2), T.Cosine(), T.L1(0.3), epochs=steps)
    x, y = (v.double() for v in data.select("fit"))  # type: ignore[union-attr]
    w, b = (v.double() for v in linear(4)().parameters())
    for t in range(steps):
        rate = 0.2 * (1 + torch.cos(torch.tensor(torch.pi * t / steps, dtype=torch.float64))) / 2
        error = x @ w.T + b - y
        w, b = soft(w - rate * 2 * error.T @ x / len(x), float(rate * 0.3)), b - rate * 2 * error.mean(0)
    torch.testing.assert_close(weight(run), w, rtol=1e-12, atol=1e-14)


# --- the subgradient --------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("optimizer", ["SGD", "Adam"])
def test_the_subgradient_is_torchs(optimizer: str):
    data, epochs = regression(), 30
    run = descend(data, getattr(T, optimizer)(0.05), T.L1(0.3, step="subgradient"), epochs=epochs)
    model = linear(4)().double()
    torchs = getattr(torch.optim, optimizer)(model.parameters(), lr=0.05)
    x, y = (v.double() for v in data.select("fit"))  # type: ignore[union-attr]
    for _ in range(epochs):
        torchs.zero_grad()
        (nn.functional.mse_loss(model(x), y) + 0.3 * model.weight.abs().sum()).backward()  # type: ignore[operator,union-attr]
        torchs.step()
    torch.testing.assert_close(weight(run), model.weight.detach(), rtol=1e-10, atol=1e-12)  # type: ignore[arg-type]


def test_a_zero_weight_has_no_subgradient_and_others_are_never_exactly_zero():
    p = {"w": torch.tensor([[0.0, 2.0]], requires_grad=True)}
    net: Any = type("Net", (), {"affine_weights": frozenset({"w"})})
    T.L1(0.5, step="subgradient").penalty(p, eq.technique.At(net=net)).backward()
    assert p["w"].grad.tolist() == [[0.0, 0.5]]  # type: ignore[union-attr]
    truth = torch.tensor([1.0, 0.0, 0.05, -0.02], dtype=torch.float64)
    w = weight(descend(regression(truth), T.SGD(0.03), T.L1(0.3, step="subgradient"), epochs=150))[0]
    assert (w != 0).all() and w[1:].abs().max() < 0.02


# --- company ----------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("optimizer", [T.Adam(), T.AdamW(), T.RMSprop(), T.Muon()])
def test_the_proximal_step_is_refused_beside_optimizers_that_scale_weights(optimizer: Any):
    with pytest.raises(EquipoiseError, match=r"L1\(\) and .* exclude each other.*subgradient") as e:
        Recipe(optimizer, T.L1())
    assert "\n" not in str(e.value)
    assert Recipe(optimizer, T.L1(step="subgradient"))


@pytest.mark.parametrize("optimizer", [T.SGD(), T.Momentum(), T.Nesterov()])
def test_it_goes_with_plain_gradient_steps(optimizer: Any):
    assert Recipe(optimizer, T.L1())
    with pytest.raises(EquipoiseError, match=r"L1\(\) and AdamW\(\) exclude"):  # the default optimizer
        resolve((T.L1(),), "classify")


def test_zeros_survive_minibatches_and_other_penalties(table: Data):
    recipe = Recipe(T.SGD(0.1), T.L1(0.02), T.MaxNorm(2.0), T.Dropout(0.2), Empty("inputs"))
    model = lambda: nn.Sequential(nn.Linear(6, 32), nn.ReLU(), nn.Linear(32, 3))  # noqa: E731
    run = eq.train(model, recipe, table, epochs=25, batch_size=16, options=Options(precision="float32"))
    zeros = {k: float((v == 0).float().mean()) for k, v in run.state["params"].items()}
    assert zeros["0.weight"] > 0.3 and zeros["2.weight"] > 0.3
    assert zeros["0.bias"] == 0 and zeros["2.bias"] == 0
