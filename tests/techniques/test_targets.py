"""Targets: units of regression, one logit for two classes against the logistic loss, ordered classes against
statsmodels' cumulative model and the definition."""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from scipy.special import expit
from statsmodels.miscmodels.ordinal_model import OrderedModel
from torch import Tensor, nn

import equipoise as eq
from equipoise import techniques as T
from equipoise.data import Data
from equipoise.errors import EquipoiseError
from equipoise.technique import At, Batch

F64 = torch.float64


def random(*shape: int, seed: int = 2) -> Tensor:
    return torch.randn(*shape, dtype=F64, generator=torch.Generator().manual_seed(seed))


def learned(y: Tensor, task: str = "regress", t: Any = None) -> dict[str, Tensor]:
    return (t or T.Targets()).fit(None, y, SimpleNamespace(task=task))


# --- regression -------------------------------------------------------------------------------------------------------
def test_each_target_is_standardized_and_comes_back() -> None:
    y = random(50, 3) * torch.tensor([1.0, 1e4, 1e-3]) + torch.tensor([5.0, -1e5, 0.0])
    fitted, t = learned(y), T.Targets()
    got = t.prepare_target(y, fitted)
    np.testing.assert_allclose(got, (y.numpy() - y.numpy().mean(0)) / y.numpy().std(0), rtol=1e-9, atol=1e-12)
    torch.testing.assert_close(t.restore(got, fitted), y)
    torch.testing.assert_close(t.restore(got.expand(4, 50, 3), fitted), y.expand(4, 50, 3))


def test_missing_targets_are_left_out_and_constant_ones_get_the_divisor_1() -> None:
    y = random(50, 3)
    y[::3, 0], y[:, 1], y[:, 2] = float("nan"), 0.1, float("nan")
    fitted = learned(y)
    present = y[:, 0][~y[:, 0].isnan()]
    torch.testing.assert_close(fitted["mean"][0], present.mean())
    torch.testing.assert_close(fitted["std"][0], present.std(correction=0))
    assert fitted["std"][1:].tolist() == [1, 1] and fitted["mean"][2] == 0


def test_a_run_does_not_depend_on_the_users_units(targets: Data) -> None:
    units = torch.tensor([1e3, 1e-2])
    other = Data(targets.x, targets.y * units - 40, task="regress").with_rows(targets.rows)
    model = nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 2))
    runs = [
        eq.train(model, eq.Recipe(T.Targets(), T.SGD(0.1)), d, epochs=3, options=eq.Options(precision="float64"))
        for d in (targets, other)
    ]
    a, b = (torch.from_numpy(r.predict(targets.x)) for r in runs)
    torch.testing.assert_close(b, a * units - 40, rtol=1e-3, atol=1e-3)  # the targets are float32
    for run, p, d in zip(runs, (a, b), (targets, other), strict=True):
        rmse = (p - d.y).square()[d.rows["assess"]].mean(0).sqrt().mean()  # in the user's units
        np.testing.assert_allclose(run.score("assess")["rmse"], float(rmse), rtol=1e-6)


def test_without_it_targets_stay_as_they_are(targets: Data) -> None:
    still = eq.Recipe(T.SGD(1e-30), T.Targets())
    run = eq.train("mlp(hidden=())", still.minus("Targets"), targets, epochs=1)
    assert "Targets" not in run.const.fitted
    with_it = eq.train("mlp(hidden=())", still, targets, epochs=1)
    y = targets.y[targets.rows["fit"]].double()
    want = torch.from_numpy(run.predict(targets.x)) * y.std(0, correction=0) + y.mean(0)
    np.testing.assert_allclose(with_it.predict(targets.x), want, rtol=1e-5, atol=1e-5)


# --- one logit --------------------------------------------------------------------------------------------------------
def test_one_logit_is_the_logistic_loss_with_its_gradient() -> None:
    z, y = random(40, 1).mul(3).requires_grad_(), (random(40, seed=3) > 0).long()
    onehot = F.one_hot(y, 2).double()
    loss = T.CrossEntropy().loss(T.Targets().decode(z, "classify"), Batch(None, onehot, torch.ones(40)), At())
    reference = F.binary_cross_entropy_with_logits(z[:, 0], y.double())
    torch.testing.assert_close(loss, reference)
    for a, b in zip(torch.autograd.grad(loss, z), torch.autograd.grad(reference, z), strict=True):
        torch.testing.assert_close(a, b)
    p = torch.softmax(T.Targets().decode(z, "classify"), -1)
    np.testing.assert_allclose(p[:, 1].detach().numpy(), expit(z[:, 0].detach().numpy()), rtol=1e-12)


def test_widths() -> None:
    t, ordinal = T.Targets(), T.Targets("ordinal")
    assert t.widths(2, "classify") == (2, 1) and t.widths(5, "classify") == (5,) and t.widths(2, "regress") == (2,)
    assert t.widths(1, "regress") == (1,)
    assert ordinal.widths(5, "classify") == (4,) and ordinal.widths(2, "classify") == (1,)


@pytest.mark.parametrize("shape", [(7, 3), (4, 7, 3)])
def test_outputs_of_full_width_pass(shape: tuple[int, ...]) -> None:
    z = random(*shape)
    assert T.Targets().decode(z, "classify") is z and T.Targets().decode(z, "regress") is z
    assert T.Targets().decode(z[..., :1], "regress").shape == (*shape[:-1], 1)  # one target is no logit


# --- ordered classes --------------------------------------------------------------------------------------------------
def ordinal(z: Tensor) -> Tensor:
    return T.Targets("ordinal").decode(z, "classify")


@pytest.mark.parametrize("K", [2, 3, 4, 7])
def test_probabilities_are_differences_of_the_cumulative_ones(K: int) -> None:
    z = random(5, 30, K - 1) * 3
    a = [z[..., 0] + math.log(K - 1)]
    for k in range(1, K - 1):
        a.append(a[-1] - torch.log1p(torch.exp(z[..., k] + math.log(K / (k * (K - 1 - k))))))
    above = torch.stack([torch.ones(5, 30), *(torch.sigmoid(v) for v in a), torch.zeros(5, 30)], -1)
    got = ordinal(z).exp()
    torch.testing.assert_close(got, above[..., :-1] - above[..., 1:])
    torch.testing.assert_close(got.sum(-1), torch.ones(5, 30, dtype=F64))
    torch.testing.assert_close(torch.softmax(ordinal(z), -1), got)  # log-probabilities are logits


@pytest.mark.parametrize("K", [2, 3, 4, 10])
def test_outputs_of_zero_give_every_class_the_same(K: int) -> None:
    torch.testing.assert_close(ordinal(torch.zeros(1, K - 1, dtype=F64)).exp(), torch.full((1, K), 1 / K, dtype=F64))


def test_two_ordered_classes_are_one_logit() -> None:
    z = random(20, 1)
    torch.testing.assert_close(ordinal(z), T.Targets().decode(z, "classify").log_softmax(-1))


@pytest.mark.parametrize("dtype", [torch.float32, F64])
def test_extreme_outputs_stay_finite_with_their_gradients(dtype: torch.dtype) -> None:
    z = torch.tensor([[1e3, 1e3, -1e3], [-1e3, 1e3, 1e3], [-1e3, -1e3, -1e3], [80.0, -80.0, 80.0]], dtype=dtype)
    z.requires_grad_()
    out = ordinal(z)
    (grad,) = torch.autograd.grad(out.sum(), z)
    assert out.isfinite().all() and grad.isfinite().all() and (out <= 0).all()


def test_a_shared_score_with_constant_steps_is_statsmodels_cumulative_logit() -> None:
    """Proportional odds (McCullagh 1980): the fitted model's likelihood and probabilities come out of our coding."""
    rng = np.random.default_rng(4)
    x = rng.normal(size=(300, 2))
    y = np.digitize(x @ [1.0, -0.5] + rng.logistic(size=300), [-1.0, 0.3, 1.5])
    model = OrderedModel(y, x, distr="logit")
    fit = model.fit(method="bfgs", disp=False)
    thresholds = model.transform_threshold_params(np.asarray(fit.params))[1:-1]  # P(y ≤ k) = expit(θ_k − x·β)
    a = (x @ np.asarray(fit.params)[:2])[:, None] - thresholds  # P(y > k) = expit(a_k)
    K = 4
    z = np.empty((300, K - 1))
    z[:, 0] = a[:, 0] - math.log(K - 1)
    for k in range(1, K - 1):
        z[:, k] = np.log(np.expm1(a[:, k - 1] - a[:, k])) - math.log(K / (k * (K - 1 - k)))
    got = ordinal(torch.from_numpy(z))
    np.testing.assert_allclose(got.exp(), model.predict(fit.params), rtol=1e-7)
    log_likelihood = got[torch.arange(300), torch.from_numpy(y)].sum()
    np.testing.assert_allclose(float(log_likelihood), fit.llf, rtol=1e-9)


def test_it_runs_stacked() -> None:
    z = random(4, 9, 3)
    torch.testing.assert_close(torch.vmap(ordinal)(z), ordinal(z))
    torch.testing.assert_close(torch.vmap(lambda v: T.Targets().decode(v, "classify"))(z[..., :1])[..., 1:], z[..., :1])


def test_ordered_classes_are_for_classification(targets: Data) -> None:
    with pytest.raises(EquipoiseError, match="orders classes"):
        eq.train("mlp", eq.Recipe(T.Targets("ordinal")), targets, epochs=1)
    assert learned(torch.arange(5), "classify", T.Targets("ordinal")) == {}
