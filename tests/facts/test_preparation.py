"""What the decks state about inputs: scale and the rate of descent, saturation, sigmoids, uneven instances."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from scipy import integrate, stats
from scipy.special import expit
from torch import Tensor, nn

import equipoise as eq
from equipoise import techniques as T
from equipoise.data import Data
from equipoise.recipe import resolve
from equipoise.technique import Technique

from ..preparing import F64, prepared
from ..starting import outputs, started

LINEAR = nn.Sequential(nn.Linear(2, 1))


def normal(*shape: int, seed: int = 1) -> Tensor:
    return torch.randn(*shape, dtype=F64, generator=torch.Generator().manual_seed(seed))


# --- scale and the rate of gradient descent ---------------------------------------------------------------------------
def two_features(scale: float, correlation: float = 0.0) -> Data:
    """y = 3·x₁ + 3·x₂/s on four points, repeated: mean 0, sd 1 and s, of exactly that correlation; all roles alike."""
    r = correlation
    base = torch.tensor([[1.0, 1.0], [1.0, -1.0], [-1.0, 1.0], [-1.0, -1.0]], dtype=F64)
    u = base @ torch.tensor([[1.0, r], [0.0, (1 - r * r) ** 0.5]], dtype=F64)
    x = (u * torch.tensor([1.0, scale])).repeat(40, 1)
    rows = {role: range(40 * i, 40 * (i + 1)) for i, role in enumerate(("fit", "stop", "assess", "test"))}
    return Data(x, (3 * u.sum(1)).repeat(40), task="regress", split=rows)


def losses(data: Data, rate: float, steps: int, *preparation: Technique) -> np.ndarray:
    """The loss before each step of full-batch descent from zero weights; L = mean (f − y)² has the Hessian 2Σ."""
    recipe = resolve([T.SGD(rate), T.Constant(0.0), T.Targets(), *preparation], "regress")
    recipe = recipe.minus("Targets") if preparation else recipe.minus("Targets").minus("inputs")
    run = eq.train(LINEAR, recipe, data, epochs=steps, batch_size=40, options=eq.Options(precision="float64"))
    return np.array([row["loss"] for row in run.history])


@pytest.mark.parametrize("scale", [10.0, 100.0])
def test_descent_on_unscaled_features_contracts_by_kappa_less_1_over_kappa_plus_1(scale: float) -> None:
    """κ = s² is the condition of Σ = diag(1, s²); at the best rate 2/(2·1 + 2·s²) both directions of the error shrink
    by (κ−1)/(κ+1) a step, so the loss by its square. At a smaller rate the flat direction ends slower, at a larger one
    the steep one."""
    data, κ = two_features(scale), scale**2
    best, slower, faster = (losses(data, factor / (1 + κ), 60) for factor in (1.0, 0.9, 1.1))
    np.testing.assert_allclose(best[1:] / best[:-1], ((κ - 1) / (κ + 1)) ** 2, rtol=1e-5)
    assert slower[-1] / slower[-2] > best[-1] / best[-2]
    assert faster[-1] / faster[-2] > 1


@pytest.mark.parametrize("scale", [10.0, 100.0])
def test_scaled_features_are_learned_in_one_step(scale: float) -> None:
    """Standardize makes κ = 1, and (κ−1)/(κ+1) = 0: at the rate ½ (L has the Hessian 2I) one step solves it."""
    data = two_features(scale)
    x = prepared(T.Standardize(), data.x)
    assert np.linalg.cond(np.cov(np.asarray(data.x, dtype=float).T)) == pytest.approx(scale**2, rel=1e-6)
    assert np.linalg.cond(np.cov(x.numpy().T)) == pytest.approx(1)
    found = losses(data, 0.5, 2, T.Standardize())
    assert found[0] > 10 and found[1] < 1e-10


def test_only_whitening_takes_correlation_away() -> None:
    """Of correlation r: Standardize leaves κ = (1+r)/(1−r), whitening 1."""
    data, r = two_features(100.0, 0.8), 0.8
    κ = (1 + r) / (1 - r)
    assert np.linalg.cond(np.cov(prepared(T.Standardize(), data.x).numpy().T)) == pytest.approx(κ, rel=1e-5)
    standardized = losses(data, 0.5, 4, T.Standardize())
    assert standardized[3] > 1e-3 * standardized[0]
    for kind in ("zca", "pca"):
        whitened = losses(data, 0.5, 2, T.Whiten(0.0, kind))
        assert whitened[0] > 10 and whitened[1] < 1e-8


# --- sigmoids ---------------------------------------------------------------------------------------------------------
def linearity(scale: float) -> float:
    """R² of the best line through σ(s·z), z ~ N(0, 1): corr(z, σ(s z))², by quadrature."""
    mean = lambda f: integrate.quad(lambda z: f(z) * stats.norm.pdf(z), -12, 12, limit=200)[0]  # noqa: E731
    level = mean(lambda z: expit(scale * z))
    return mean(lambda z: z * expit(scale * z)) ** 2 / mean(lambda z: (expit(scale * z) - level) ** 2)


def test_a_sigmoid_fed_standard_numbers_is_nearly_linear() -> None:
    """D0, D3: R² = .984, and .84 at four times that scale: what standardizing costs a sigmoid."""
    assert round(linearity(1.0), 3) == 0.984
    assert round(linearity(4.0), 2) == 0.84
    z = prepared(T.Standardize(), normal(20_000, 1) * 37 + 1000).numpy()[:, 0]
    for scale in (1.0, 4.0):
        r = np.corrcoef(z, expit(scale * z))[0, 1]
        # the standard error of a squared correlation is at most 2·r·(1 − r²)/√n
        assert abs(r**2 - linearity(scale)) < 6 * 2 * r * (1 - r**2) / 20_000**0.5 + 1e-3


def saturation_and_gradient(x: Tensor, y: Tensor, seed: int) -> tuple[float, float]:
    """Of a sigmoid net's first layer: share of (unit, row) with σ′ below 5 % of its maximum, RMS of the gradient."""
    model = nn.Sequential(nn.Linear(64, 32), nn.Sigmoid(), nn.Linear(32, 10))
    params, _ = started(model, x, T.Xavier(), seed=seed)
    leaves = {k: v.requires_grad_() for k, v in params.items()}
    a = torch.sigmoid(nn.functional.linear(x, params["0.weight"], params["0.bias"]))
    saturated = float((4 * a * (1 - a) < 0.05).double().mean())
    loss = nn.functional.cross_entropy(outputs(model, leaves, x), y)
    return saturated, float(torch.autograd.grad(loss, leaves["0.weight"])[0].square().mean().sqrt())


def test_unscaled_inputs_saturate_a_sigmoids_first_layer_and_standardize_mends_it() -> None:
    """Digits × 100, eight paired starts: saturation, and the gradient relative to the inputs' own scale."""
    data = Data.load("digits")
    raw = data.x[data.rows["fit"][:256]].double().flatten(1) * 100  # type: ignore[index]
    y = data.y[data.rows["fit"][:256]]
    sd = float(raw.std())
    each = np.array(
        [
            [*saturation_and_gradient(raw, y, s), *saturation_and_gradient(prepared(T.Standardize(), raw), y, s)]
            for s in range(8)
        ]
    )
    before, gradient, after, mended = each.T
    assert before.min() > 0.8 and after.max() < 0.01
    ratio = np.log(gradient / sd / mended)  # ∂L/∂w carries the size of x: the signal that arrives is what is left of it
    assert stats.ttest_1samp(ratio, 0).confidence_interval(0.95).high < np.log(0.1)


# --- instances of their own range -------------------------------------------------------------------------------------
def uneven_digits() -> Data:
    """Digits of which each image has a gain of its own, log-uniform from 1/10 to 10, and a level of its own."""
    data = Data.load("digits")
    g = torch.Generator().manual_seed(3)
    gain = 10 ** (2 * torch.rand(len(data), 1, 1, 1, generator=g) - 1)
    level = 20 * torch.randn(len(data), 1, 1, 1, generator=g)
    return Data(data.x * gain + level, data.y).with_rows(data.rows)  # type: ignore[operator]


def paired(data: Data, entries: list[Technique], seeds: int, **schedule: Any) -> np.ndarray:
    """Loss on `assess` of every entry (rows) and seed."""
    recipes = [eq.Recipe(t, T.Adam(0.003), T.He()) for t in entries for _ in range(seeds)]
    runs = eq.train_many("mlp(hidden=(64,))", recipes, data, seeds=[*range(seeds)] * len(entries), **schedule)
    return np.array([r.score("assess")["loss"] for r in runs]).reshape(len(entries), seeds)


def test_per_instance_pays_on_instances_with_inconsistent_ranges() -> None:
    common, own = paired(uneven_digits(), [T.Standardize(), T.PerInstance()], 5, epochs=6)
    interval = stats.ttest_rel(common, own).confidence_interval(0.95)
    assert interval.low > 0.1, "the loss that PerInstance saves, nats"


def test_standardize_pays_on_images_in_bytes() -> None:
    """ChannelMean and MeanImage centre but do not scale: a rate for standardized digits is too large for them."""
    data = Data.load("digits")
    bytes_of = Data(data.x * 15, data.y).with_rows(data.rows)  # type: ignore[operator]
    losses = paired(bytes_of, [T.Standardize(), T.ChannelMean(), T.MeanImage()], 4, epochs=4)
    for centred in losses[1:]:
        assert stats.ttest_rel(centred, losses[0]).confidence_interval(0.95).low > 0
