"""MonteCarlo against all masks gone through by hand, weight scaling, and its own standard error."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import equipoise as eq
from equipoise import techniques as T
from equipoise.data import Data
from equipoise.errors import EquipoiseError
from equipoise.recipe import Recipe, resolve
from equipoise.run import Run
from equipoise.technique import At, Technique


def narrow() -> nn.Module:
    """Ten hidden units: 2^10 masks."""
    return nn.Sequential(nn.Linear(6, 10), nn.Tanh(), nn.Linear(10, 3))


def linear() -> nn.Module:
    return nn.Sequential(nn.Linear(6, 3))


def trained(build: Any, *entries: Technique, data: Data) -> Run:
    return eq.train(build, [T.SGD(0.3), *entries], data, epochs=4, options=eq.Options(precision="float64"))


def by_hand(run: Run, x: Tensor, p: float, layer: int) -> tuple[Tensor, Tensor]:
    """(predictions (2^units, n, C), probability of each mask): inverted dropout on what the last affine map reads."""
    params, fitted = run.state["params"], run.const.fitted["Standardize"]
    h = (x.double() - fitted["mean0"]) / fitted["std0"]
    if layer:
        h = torch.tanh(h @ params["0.weight"].T + params["0.bias"])
    w, b = params[f"{layer}.weight"], params[f"{layer}.bias"]
    all_p, chances = [], []
    for mask in itertools.product((0.0, 1.0), repeat=h.shape[1]):
        kept = sum(mask)
        chances.append((1 - p) ** kept * p ** (h.shape[1] - kept))
        all_p.append(torch.softmax((h * torch.tensor(mask).double() / (1 - p)) @ w.T + b, -1))
    return torch.stack(all_p), torch.tensor(chances, dtype=torch.float64)


@pytest.mark.parametrize("mean", ["arithmetic", "geometric", "vote"])
def test_ten_units_are_gone_through_exactly(mean: str, table: Data) -> None:
    run = trained(narrow, T.Dropout(0.3), T.MonteCarlo(mean=mean), data=table)
    p, w = by_hand(run, table.x[:20], 0.3, 2)  # type: ignore[index]
    w = w[:, None, None]
    want = {
        "arithmetic": lambda: (w * p).sum(0),
        "geometric": lambda: torch.softmax((w * p.log()).sum(0), -1),
        "vote": lambda: (w * nn.functional.one_hot(p.argmax(-1), 3)).sum(0),
    }[mean]()
    np.testing.assert_allclose(run.predict(table.x[:20]), want.numpy(), rtol=1e-10, atol=1e-13)  # type: ignore[index]


def test_over_dropped_inputs_of_a_softmax_the_geometric_mean_is_weight_scaling(table: Data) -> None:
    """D1's identity: one softmax layer over dropped inputs; six inputs, 64 masks."""
    entries = (T.Dropout(0.0, 0.5), T.MonteCarlo(mean="geometric"))
    run = trained(linear, *entries, data=table)
    np.testing.assert_allclose(run.predict(table.x), run.predictor.one(table.x).numpy(), rtol=1e-9, atol=1e-12)
    arithmetic = trained(linear, T.Dropout(0.0, 0.5), T.MonteCarlo(), data=table)
    assert np.abs(arithmetic.predict(table.x) - run.predict(table.x)).max() > 1e-3


def test_draws_agree_with_all_masks_within_their_error(table: Data) -> None:
    """400 draws of a network of ten units against the exact mean: within six standard errors at each of 60 outputs."""
    run = trained(narrow, T.Dropout(0.5), T.MonteCarlo(400), data=table)
    x = table.x[:20]  # type: ignore[index]
    exact = run.predict(x)
    draws = run.predictor.draws(x, 400).numpy()
    error = draws.std(0, ddof=1) / 20
    assert (np.abs(draws.mean(0) - exact) < 6 * error).all()
    assert np.abs(draws.mean(0) - exact).max() > 0


def test_the_spread_and_the_gap_to_weight_scaling(table: Data) -> None:
    run = trained(narrow, T.Dropout(0.4), T.MonteCarlo(), data=table)
    x = table.x[:20]  # type: ignore[index]
    told = T.MonteCarlo().measure(run.predictor.one, x, At(run.program.net))
    p, w = by_hand(run, x, 0.4, 2)
    mean = (w[:, None, None] * p).sum(0)
    spread = ((w[:, None, None] * (p - mean) ** 2).sum(0)).sqrt().mean()
    assert told["spread"] == pytest.approx(float(spread), rel=1e-10)
    assert told["gap"] == pytest.approx(float((mean - run.predictor.one(x)).abs().mean()), rel=1e-10)
    assert told["error"] == 0
    assert told["gap"] > 1e-4


def test_wider_networks_are_sampled(table: Data) -> None:
    """64 units: the mean of the run's own draws, the same twice; the error is told."""
    run = trained("mlp(hidden=(64,))", T.Dropout(0.5), T.MonteCarlo(7), data=table)
    x = table.x[:10]  # type: ignore[index]
    draws = run.predictor.draws(x, 7).double()
    np.testing.assert_allclose(run.predict(x), draws.mean(0).numpy(), rtol=1e-12)
    np.testing.assert_array_equal(run.predict(x), run.predict(x))
    told = T.MonteCarlo(7).measure(run.predictor.one, x, At(run.program.net))
    assert told["spread"] == pytest.approx(float(draws.std(0).mean()), rel=1e-9)
    assert told["error"] == pytest.approx(told["spread"] / 7**0.5)


def test_gaussian_noise_is_sampled_and_a_flip_gone_through(images: Data, table: Data) -> None:
    """Noise that is no Bernoulli draw cannot be enumerated; a flip at ½ is one bit: test-time augmentation, exactly."""
    run = trained(linear, T.GaussianNoise(), T.MonteCarlo(3), data=table)
    np.testing.assert_allclose(run.predict(table.x), run.predictor.draws(table.x, 3).mean(0).numpy(), rtol=1e-12)

    def cnn() -> nn.Module:
        return nn.Sequential(nn.Conv2d(2, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 36, 3))

    flipped = trained(cnn, T.FlipHorizontal(0.5), T.MonteCarlo(), data=images)
    x = images.x[:8]  # type: ignore[index]
    want = (flipped.predictor.one(x) + flipped.predictor.one(x.flip(-1))) / 2
    np.testing.assert_allclose(flipped.predict(x), want.numpy(), rtol=1e-10, atol=1e-13)


def test_without_noise_it_is_the_deterministic_rule(table: Data) -> None:
    run = trained(narrow, T.MonteCarlo(), data=table)
    np.testing.assert_array_equal(run.predict(table.x), run.predictor.one(table.x).numpy())


def test_dropout_of_the_users_own_is_enumerated_too(table: Data) -> None:
    def own() -> nn.Module:
        return nn.Sequential(nn.Linear(6, 10), nn.Tanh(), nn.Dropout(0.3), nn.Linear(10, 3))

    run = trained(own, T.MonteCarlo(), data=table)
    params, fitted = run.state["params"], run.const.fitted["Standardize"]
    h = torch.tanh((table.x[:9].double() - fitted["mean0"]) / fitted["std0"] @ params["0.weight"].T + params["0.bias"])  # type: ignore[index]
    total = torch.zeros(9, 3, dtype=torch.float64)
    for mask in itertools.product((0.0, 1.0), repeat=10):
        chance = 0.7 ** sum(mask) * 0.3 ** (10 - sum(mask))
        z = (h * torch.tensor(mask).double() / 0.7) @ params["3.weight"].T + params["3.bias"]
        total += chance * torch.softmax(z, -1)
    np.testing.assert_allclose(run.predict(table.x[:9]), total.numpy(), rtol=1e-10, atol=1e-13)  # type: ignore[index]


def test_wrong_options_are_refused() -> None:
    with pytest.raises(EquipoiseError, match="samples is a whole number from 1"):
        T.MonteCarlo(0)
    with pytest.raises(EquipoiseError, match="is for classify"):
        resolve(Recipe(T.MonteCarlo(mean="vote")), "regress")
    resolve(Recipe(T.MonteCarlo()), "regress")
