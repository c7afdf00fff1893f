"""SparseActivations against activations written out by hand and SciPy's entropies; and whom it refuses."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from scipy.special import rel_entr
from torch import Tensor, nn

import equipoise as eq
from equipoise import techniques as T
from equipoise.data import Data
from equipoise.errors import EquipoiseError
from equipoise.recipe import Recipe
from equipoise.technique import At

from ..noise_support import OneStep, bound


def sigmoids(hidden: int = 5) -> nn.Module:
    return nn.Sequential(nn.Linear(6, hidden), nn.Sigmoid(), nn.Linear(hidden, 4), nn.Sigmoid(), nn.Linear(4, 3))


def by_hand(p: dict[str, Tensor], x: Tensor) -> tuple[list[Tensor], Tensor]:
    a = torch.sigmoid(x @ p["0.weight"].T + p["0.bias"])
    b = torch.sigmoid(a @ p["2.weight"].T + p["2.bias"])
    return [a, b], b @ p["4.weight"].T + p["4.bias"]


def penalty(t: T.SparseActivations, *activations: Tensor) -> Tensor:
    return bound(t).penalty({"w": torch.zeros((), dtype=torch.float64)}, At(activations=activations))


# --- the formula ------------------------------------------------------------------------------------------------------
def test_l1_is_the_mean_over_rows_and_the_sum_over_units():
    a, b = torch.tensor([[1.0, -2.0], [3.0, 0.0]]), torch.tensor([[[0.5]], [[-0.5]]])
    assert float(penalty(T.SparseActivations(0.1), a, b)) == pytest.approx(0.1 * (2 + 1 + 0.5))


def test_kl_is_scipys_relative_entropy_of_the_mean_rates():
    rho, a = 0.1, torch.rand(7, 3, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    rate = a.mean(0).numpy()
    want = (rel_entr(rho, rate) + rel_entr(1 - rho, 1 - rate)).sum()
    assert float(penalty(T.SparseActivations(2.0, rho, "kl"), a)) == pytest.approx(2 * want, rel=1e-12)


def test_kl_is_zero_at_the_target_and_pulls_towards_it():
    for rate, sign in ((0.2, 0), (0.3, 1), (0.1, -1)):
        a = torch.full((4, 1), rate, dtype=torch.float64, requires_grad=True)
        value = penalty(T.SparseActivations(1.0, 0.2, "kl"), a)
        value.backward()
        value = value.detach()
        slope = float(a.grad.sum())  # type: ignore[union-attr]
        assert np.sign(round(slope, 12)) == sign and (float(value) < 1e-15) == (sign == 0)


@pytest.mark.parametrize("rate", [0.0, 1.0])
def test_saturated_rates_stay_finite(rate: float):
    assert penalty(T.SparseActivations(1.0, 0.05, "kl"), torch.full((4, 2), rate)).isfinite()


def test_what_several_maps_read_counts_once():
    a, same_values = torch.ones(2, 3), torch.ones(2, 3)
    assert float(penalty(T.SparseActivations(1.0), a, a, a)) == 3
    assert float(penalty(T.SparseActivations(1.0), a, same_values)) == 6


# --- in training ------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("t", [T.SparseActivations(0.05), T.SparseActivations(0.05, 0.1, "kl")])
def test_training_adds_it_to_the_loss(t: T.SparseActivations, table: Data):
    step = OneStep(sigmoids, table, t)
    params = {k: v.clone().requires_grad_() for k, v in step.before.items()}
    hidden, output = by_hand(params, step.standardized)
    extra = torch.zeros((), dtype=torch.float64)
    for a in hidden:
        rate = a.mean(0)
        kl = 0.1 * (0.1 / rate).log() + 0.9 * (0.9 / (1 - rate)).log()
        extra = extra + (kl if t.kind == "kl" else rate).sum()
    loss = F.cross_entropy(output, step.now.y) + 0.05 * extra
    loss.backward()
    torch.testing.assert_close(step.loss, loss.detach(), rtol=1e-12, atol=1e-12)
    for k, v in params.items():
        torch.testing.assert_close(step.after[k], (v - 0.5 * v.grad).detach(), rtol=1e-11, atol=1e-13)  # type: ignore[operator]


def hidden_rates(run: Any, data: Data) -> Tensor:
    x = run.program.objective.prepare(data.select("fit")[0], run.program.by_key, run.const.fitted)
    return by_hand(run.state["params"], x)[0][0].mean(0)


def test_a_strong_kl_brings_the_rates_to_the_target(table: Data):
    rates = {}
    for alpha in (0.0, 3.0):
        recipe = Recipe(T.Adam(0.1), T.SparseActivations(alpha, 0.05, "kl"))
        rates[alpha] = hidden_rates(eq.train(sigmoids, recipe, table, epochs=60, batch_size=120), table)
    assert (rates[0.0] - 0.05).abs().min() > 0.1
    assert (rates[3.0] - 0.05).abs().max() < 0.03


def test_l1_empties_relu_units(table: Data):
    relu = lambda: nn.Sequential(nn.Linear(6, 24), nn.ReLU(), nn.Linear(24, 3))  # noqa: E731
    active = {}
    for alpha in (0.0, 0.05):
        run = eq.train(relu, Recipe(T.Adam(0.02), T.SparseActivations(alpha)), table, epochs=40, batch_size=120)
        p = run.state["params"]
        x = run.program.objective.prepare(table.select("fit")[0], run.program.by_key, run.const.fitted)
        active[alpha] = float(((x @ p["0.weight"].T + p["0.bias"]) > 0).float().mean())
    assert active[0.05] < 0.7 * active[0.0]


# --- refusals ---------------------------------------------------------------------------------------------------------
class Functional(nn.Module):
    """Its activation is no module: only running it tells."""

    def __init__(self, f: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.a, self.b, self.f = nn.Linear(6, 5), nn.Linear(5, 3), f

    def forward(self, x: Tensor) -> Tensor:
        return self.b(self.f(self.a(x)))


def hard_rate(z: Tensor) -> Tensor:
    return (z / 6 + 0.5).clamp(0, 1)


@pytest.mark.parametrize("f", [F.relu, torch.tanh, F.gelu, lambda z: z, lambda z: 0.001 * F.relu(z)])
def test_kl_is_refused_on_units_that_are_no_rates(f: Callable[[Tensor], Tensor], table: Data):
    with pytest.raises(EquipoiseError, match=r"activations into b are no rates in \[0, 1\].*kind='l1'") as e:
        eq.train(lambda: Functional(f), Recipe(T.SparseActivations(kind="kl")), table, epochs=1)
    assert "\n" not in str(e.value)
    eq.train(lambda: Functional(f), Recipe(T.SparseActivations()), table, epochs=1)


@pytest.mark.parametrize("f", [torch.sigmoid, hard_rate, lambda z: torch.softmax(z, -1)])
def test_kl_takes_any_rate(f: Callable[[Tensor], Tensor], table: Data):
    run = eq.train(lambda: Functional(f), Recipe(T.SparseActivations(kind="kl")), table, epochs=1)
    assert np.isfinite(run.history[-1]["loss"])


def test_the_look_at_the_units_leaves_the_start_values(table: Data):
    starts = [OneStep(sigmoids, table, t).before for t in (T.L2(0.0), T.SparseActivations(0.0, kind="kl"))]
    assert all(torch.equal(v, starts[1][k]) for k, v in starts[0].items())


def test_a_network_without_hidden_activations_is_refused(table: Data):
    with pytest.raises(EquipoiseError, match="finds no hidden activations in this model"):
        eq.train(lambda: nn.Linear(6, 3), Recipe(T.SparseActivations()), table, epochs=1)
