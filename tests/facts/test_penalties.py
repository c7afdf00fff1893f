"""What the decks state about norm penalties: biases, the trade, the slope of the learned function, large networks.

Soft-thresholding, h/(h + α) and L2 = weight decay under SGD are proved in the tests of L1, L2 and WeightDecay.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import equipoise as eq
from equipoise import techniques as T
from equipoise.data import Data
from equipoise.plan import Options
from equipoise.recipe import Recipe
from equipoise.run import Run
from equipoise.stats import paired_t
from equipoise.technique import Empty

from ..penalty_support import descend, on_rows, regression, weight

SEEDS = range(12)
EAGER = Options(compile="never")
ONE_IN_A_MILLION = 1e-6


def assert_less(a: Any, b: Any) -> None:
    """Paired runs: the mean of a lies below that of b, by chance less than once in a million."""
    t = paired_t(a, b)
    assert t.mean < 0 and t.p < ONE_IN_A_MILLION, (t.mean, t.p)


# --- biases -----------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("shift", [3.0, -10.0])
def test_a_penalized_bias_underfits_a_shift_by_its_closed_form(shift: float):
    """D1. Centred features, curvature 2: b → 2/(2 + α) s, so that (α/(2 + α) s)² of error can never be fitted."""
    alpha, truth = 0.5, torch.tensor([0.7, -0.4, 0.1])
    data = regression(truth, shift)
    x, y = data.select("fit")
    loss = {}
    for on in ("weights", "affine"):
        p = descend(data, T.SGD(0.2), T.L2(alpha, on=on), epochs=120).state["params"]
        assert float(p["bias"]) == pytest.approx(shift * (1.0 if on == "weights" else 0.8), abs=1e-9)
        loss[on] = float((x @ p["weight"].T + p["bias"] - y).square().mean())  # type: ignore[operator]
    assert loss["affine"] - loss["weights"] == pytest.approx((0.2 * shift) ** 2, rel=1e-9)


def test_on_real_data_with_a_shift_penalized_biases_cost():
    """D1, diabetes (mean 2 in units of its spread) with a tanh network: same α, biases exempt or not."""
    raw = Data.load("diabetes")
    data = Data(raw.x, raw.y / raw.y.std(), name="diabetes")
    arms = {
        on: Recipe(T.Momentum(0.02), T.L2(0.4, on=on), T.SquaredError(), Empty("targets"))
        for on in ("weights", "affine")
    }
    build = lambda: nn.Sequential(nn.Linear(10, 16), nn.Tanh(), nn.Linear(16, 1))  # noqa: E731
    scores = {
        on: [
            r.score("assess")["rmse"]
            for r in eq.train_many(build, [a] * len(SEEDS), data, seeds=SEEDS, epochs=25, batch_size=88, options=EAGER)
        ]
        for on, a in arms.items()
    }
    assert_less(scores["weights"], scores["affine"])


# --- the trade --------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("strength", "bias2", "variance"), [(0.0, 0.0, 1.1), (1.0, 0.349174, 0.332645), (10.0, 1.985537, 0.033264)]
)
def test_the_trade_is_profitable_and_then_not(strength: float, bias2: float, variance: float):
    """D1. Ridge with XᵀX = diag(10, 1), truth (1, 1), unit noise, at x₀ = (1, 1): the exact bias² and variance.

    Training is linear in the targets; with the columns of the unit matrix as targets it learns its own linear operator.
    """
    x = torch.diag(torch.tensor([10.0, 1.0], dtype=torch.float64)).sqrt()
    data = on_rows(x, torch.eye(2, dtype=torch.float64))
    model = lambda: nn.Linear(2, 2, bias=False)  # noqa: E731
    alpha = 2 * strength / 4  # mean squares over 2 rows and 2 targets: ‖·‖²/4 + α/2 ‖w‖²
    operator = weight(descend(data, T.SGD(0.15), T.L2(alpha), epochs=700, build=model)).T  # ŵ = operator @ y
    at = torch.ones(2, dtype=torch.float64) @ operator
    assert float((at @ x.sum(1) - 2) ** 2) == pytest.approx(bias2, abs=1e-6)
    assert float(at @ at) == pytest.approx(variance, abs=1e-6)
    profitable = bias2 + variance < 1.1
    assert profitable == (strength == 1.0)


# --- on real data -----------------------------------------------------------------------------------------------------
ALPHAS = (0.0, 0.003, 0.1)


@pytest.fixture(scope="module")
def few_digits() -> Data:
    data = Data.load("digits")
    return data.with_rows({"fit": data.rows["fit"][:250]})


@pytest.fixture(scope="module")
def runs(few_digits: Data) -> dict[float, list[Run]]:
    """A network of 128 hidden units on 250 digits, with three strengths of L2 from the same seeds."""
    build = lambda: nn.Sequential(nn.Flatten(), nn.Linear(64, 128), nn.Tanh(), nn.Linear(128, 10))  # noqa: E731
    recipes = [Recipe(T.Momentum(0.1), T.L2(a)) for a in ALPHAS for _ in SEEDS]
    made = eq.train_many(build, recipes, few_digits, seeds=[*SEEDS] * 3, epochs=40, batch_size=50, options=EAGER)
    return {a: made[i * len(SEEDS) : (i + 1) * len(SEEDS)] for i, a in enumerate(ALPHAS)}


def losses(runs: list[Run], role: str) -> list[float]:
    return [r.score(role)["loss"] for r in runs]


def slope(run: Run, data: Data) -> float:
    """Mean over examples of the Frobenius norm of ∂ logits/∂ inputs, both as the network sees them."""
    x = run.program.objective.prepare(data.select("assess")[0], run.program.by_key, run.const.fitted)

    def logits(v: Tensor) -> Tensor:
        return run.model(v[None])[0]

    return float(torch.vmap(torch.func.jacrev(logits))(x).flatten(1).norm(dim=1).mean())


def test_l2_raises_the_training_loss_and_lowers_the_slope(runs: dict[float, list[Run]], few_digits: Data):
    """D2."""
    for a, b in ((0.0, 0.003), (0.003, 0.1)):
        assert_less(losses(runs[a], "fit"), losses(runs[b], "fit"))
        assert_less([slope(r, few_digits) for r in runs[b]], [slope(r, few_digits) for r in runs[a]])


def test_a_little_pays_and_much_costs(runs: dict[float, list[Run]]):
    """D1: "it has to be profitable": the sign of the trade changes with α."""
    assert_less(losses(runs[0.003], "assess"), losses(runs[0.0], "assess"))
    assert_less(losses(runs[0.0], "assess"), losses(runs[0.1], "assess"))


def test_a_large_regularized_net_beats_a_small_plain_one(runs: dict[float, list[Run]], few_digits: Data):
    """D1: "most often the best-fitting model is a large model that has been appropriately regularized"."""
    build = lambda: nn.Sequential(nn.Flatten(), nn.Linear(64, 4), nn.Tanh(), nn.Linear(4, 10))  # noqa: E731
    small = eq.train_many(
        build, [Recipe(T.Momentum(0.1))] * len(SEEDS), few_digits, seeds=SEEDS, epochs=40, batch_size=50, options=EAGER
    )
    assert_less(losses(runs[0.003], "assess"), losses(small, "assess"))
    assert np.mean(losses(small, "fit")) > np.mean(losses(runs[0.003], "fit"))
