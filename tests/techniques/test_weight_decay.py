"""WeightDecay against torch.optim.AdamW, and against L2 where the two are one (SGD) and where they are not (Adam)."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from equipoise import techniques as T
from equipoise.data import Data
from equipoise.errors import EquipoiseError
from equipoise.recipe import Recipe

from ..penalty_support import descend, linear, regression, weight
from ..stepping import cohort_of, network, params_of


def test_with_adam_it_is_torchs_adamw():
    """120 full-batch steps; the bias is in a group without decay, as here."""
    data = regression(correlated=True)
    run = descend(data, T.Adam(0.05), T.WeightDecay(0.3), epochs=120)
    model: Any = linear(4)().double()
    groups = [{"params": [model.weight], "weight_decay": 0.3}, {"params": [model.bias], "weight_decay": 0.0}]
    adamw = torch.optim.AdamW(groups, lr=0.05)
    x, y = (v.double() for v in data.select("fit"))  # type: ignore[union-attr]
    for _ in range(120):
        adamw.zero_grad()
        nn.functional.mse_loss(model(x), y).backward()
        adamw.step()
    torch.testing.assert_close(weight(run), model.weight.detach(), rtol=0, atol=1e-10)
    torch.testing.assert_close(run.state["params"]["bias"], model.bias.detach(), rtol=0, atol=1e-10)


def test_it_is_the_decay_of_adamw_itself(targets: Data):
    runs = [
        cohort_of([r], targets, epochs=8) for r in ((T.AdamW(0.02, decay=0.4),), (T.Adam(0.02), T.WeightDecay(0.4)))
    ]
    for cohort in runs:
        while not cohort.finished:
            cohort.train_epoch()
    for k, v in params_of(runs[0]).items():
        torch.testing.assert_close(params_of(runs[1])[k], v, rtol=0, atol=1e-12)


@pytest.mark.parametrize("on", ["weights", "affine"])
def test_with_sgd_it_is_l2_and_with_adam_it_is_not(on: str, targets: Data):
    """40 minibatch steps of a tanh network, to 1e-12 in float64."""
    for optimizer, same in ((T.SGD(0.05), True), (T.Adam(0.01), False)):
        arms = [(optimizer, T.L2(0.1, on=on)), (optimizer, T.WeightDecay(0.1, on=on))]
        cohorts = [cohort_of([a], targets, epochs=8) for a in arms]
        for cohort in cohorts:
            while not cohort.finished:
                cohort.train_epoch()
        apart = max(float((params_of(cohorts[0])[k] - v).abs().max()) for k, v in params_of(cohorts[1]).items())
        assert apart < 1e-12 if same else apart > 1e-3


def test_biases_and_normalization_decay_only_when_asked(targets: Data):
    """The first step of SGD without and with decay differs by ε λ w on exactly the parameters meant."""
    layers = lambda: nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.Tanh(), nn.Linear(8, 2))  # noqa: E731
    norm, biases = {"1.weight", "1.bias"}, {"0.bias", "3.bias"}
    for on, exempt in (("weights", norm | biases), ("affine", norm), ("all", set())):
        after = {}
        for decay in (0.0, 0.5):
            cohort = cohort_of([(T.SGD(0.1), T.WeightDecay(decay, on=on))], targets, build=layers, batch=200, epochs=1)
            before = params_of(cohort)
            cohort.train_epoch()
            after[decay] = params_of(cohort)
        for k, w in before.items():
            shrunk = 0.0 if k in exempt else 0.1 * 0.5 * w
            torch.testing.assert_close(after[0.0][k] - after[0.5][k], shrunk + 0 * w, rtol=1e-9, atol=1e-14)


def test_decay_has_one_place():
    with pytest.raises(EquipoiseError, match="both decay the weights: use AdamW"):
        Recipe(T.AdamW(decay=0.1), T.WeightDecay())
    assert Recipe(T.AdamW(), T.WeightDecay())


def test_the_network_shrinks_but_its_biases_do_not(targets: Data):
    cohort = cohort_of([(T.SGD(0.05),), (T.SGD(0.05), T.WeightDecay(1.0))], targets, build=network, epochs=10)
    while not cohort.finished:
        cohort.train_epoch()
    size = lambda i: float(sum(v.square().sum() for k, v in params_of(cohort, i).items() if v.dim() == 2))  # noqa: E731
    assert size(1) < 0.5 * size(0)
