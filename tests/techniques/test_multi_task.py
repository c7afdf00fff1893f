"""MultiTask against SquaredError, a loop over the labels that are there, SciPy's likelihood, and its resting point."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from scipy import stats
from torch import Tensor

from equipoise import techniques as T
from equipoise.data import Data
from equipoise.errors import EquipoiseError
from equipoise.recipe import Recipe, resolve
from equipoise.technique import Batch
from equipoise.techniques.objectives.multi_task import LOG_VARIANCE

from ..stepping import EXECUTORS, cohort_of, network, params_of, steps


def with_gaps(b: int = 12, t: int = 3) -> tuple[Tensor, Batch]:
    """Outputs, and a batch in which a third of the targets are missing."""
    g = torch.Generator().manual_seed(4)
    f, y = torch.randn(b, t, generator=g, dtype=torch.float64), torch.randn(b, t, generator=g, dtype=torch.float64)
    w = torch.rand(b, generator=g, dtype=torch.float64) + 0.1
    return f, Batch(None, torch.where(torch.rand(b, t, generator=g) < 1 / 3, torch.nan, y), w)


def at(s: Tensor | None = None) -> Any:
    return SimpleNamespace(task="regress", params={} if s is None else {LOG_VARIANCE: s})


def test_with_every_target_there_it_is_the_squared_error() -> None:
    g = torch.Generator().manual_seed(0)
    f, y = (torch.randn(9, 3, generator=g, dtype=torch.float64) for _ in range(2))
    batch = Batch(None, y, torch.rand(9, generator=g, dtype=torch.float64))
    want = T.SquaredError().loss(f, batch, at())
    torch.testing.assert_close(T.MultiTask().loss(f, batch, at()), want)
    start = T.MultiTask(weighting="uncertainty").loss(f, batch, at(torch.zeros(3).double()))
    torch.testing.assert_close(start, want)


@pytest.mark.parametrize("weights", [None, (1.0, 0.0, 3.0)])
def test_fixed_weights_over_the_targets_that_are_there(weights: tuple[float, ...] | None) -> None:
    f, batch = with_gaps()
    total = 0.0
    lam = weights or (1.0, 1.0, 1.0)
    for k in range(3):
        there = [i for i in range(12) if not bool(batch.y[i, k].isnan())]
        errors = sum(float(batch.w[i] * (f[i, k] - batch.y[i, k]) ** 2) for i in there)
        total += lam[k] * errors / sum(float(batch.w[i]) for i in there)
    ours = T.MultiTask(weights=weights).loss(f, batch, at())
    assert float(ours) == pytest.approx(total / sum(lam), rel=1e-12)


def test_a_missing_target_has_no_gradient() -> None:
    f, batch = with_gaps()
    f.requires_grad_()
    for t, told in ((T.MultiTask(), at()), (T.MultiTask(weighting="uncertainty"), at(torch.ones(3).double()))):
        [grad] = torch.autograd.grad(t.loss(f, batch, told), f)
        assert torch.equal(grad == 0, batch.y.isnan())


def test_a_task_without_targets_in_the_batch_adds_nothing() -> None:
    f, batch = with_gaps()
    batch.y[:, 1] = torch.nan
    s = torch.tensor([0.5, 7.0, -0.2], dtype=torch.float64, requires_grad=True)
    loss = T.MultiTask(weighting="uncertainty").loss(f, batch, at(s))
    [grad] = torch.autograd.grad(loss, s)
    assert bool(loss.isfinite()) and float(grad[1]) == 0
    assert float(grad[0]) != 0


def test_uncertainty_is_the_gaussian_likelihood() -> None:
    """(2/T) Σ_k mean_i −log N(y_ik; f_ik, σ_k²) without its constant log 2π, by SciPy."""
    g = torch.Generator().manual_seed(2)
    f, y = (torch.randn(8, 3, generator=g, dtype=torch.float64) for _ in range(2))
    s = torch.tensor([0.3, -1.0, 2.0], dtype=torch.float64)
    ours = T.MultiTask(weighting="uncertainty").loss(f, Batch(None, y, torch.ones(8).double()), at(s))
    density = stats.norm.logpdf(y.numpy(), f.numpy(), torch.exp(s / 2).numpy())
    likelihood = -2 / 3 * (density + 0.5 * torch.log(torch.tensor(2 * torch.pi)).item()).mean(0).sum()
    assert float(ours) == pytest.approx(float(likelihood), rel=1e-7)


@pytest.mark.parametrize("executor", EXECUTORS)
def test_learned_weights_come_to_rest_at_each_tasks_error(executor: Any, targets: Data) -> None:
    """With outputs that cannot follow (zero weights, frozen), exp(s_k) tends to the mean squared target."""
    y = targets.y.double()

    def still() -> torch.nn.Module:
        net = network()
        for p in net.parameters():
            torch.nn.init.zeros_(p).requires_grad_(False)
        return net

    data = Data(targets.x, y / torch.tensor([1.0, 5.0]), task="regress")
    rows = data.rows["fit"]
    cohort = cohort_of(
        [[T.MultiTask(weighting="uncertainty"), T.SGD(r)] for r in (0.5, 0.3)],
        data, executor, build=still, epochs=150, batch=len(rows),
    )  # fmt: skip
    list(steps(cohort))
    for i in range(2):
        s = params_of(cohort, i)[LOG_VARIANCE]
        torch.testing.assert_close(s, data.y[rows].double().square().mean(0).log(), rtol=1e-6, atol=1e-6)


def test_the_learned_weights_are_no_part_of_the_plain_network(targets: Data) -> None:
    import equipoise as eq

    run = eq.train(network, [T.MultiTask(weighting="uncertainty"), T.Adam(0.01)], targets, epochs=2)
    assert LOG_VARIANCE in run.state["params"]
    assert list(run.model.state_dict()) == list(network().state_dict())
    assert float(run.state["params"][LOG_VARIANCE].abs().min()) > 0
    assert run.predict(targets.x).shape == (200, 2)


@pytest.mark.parametrize(
    ("wrong", "rule"),
    [
        ({"weights": (0.0, 0.0)}, "not all 0"),
        ({"weights": (-1.0, 2.0)}, "one number from 0 on per target"),
        ({"weights": 3.0}, "one number from 0 on per target"),
        ({"weights": (1.0,), "weighting": "uncertainty"}, "weights are learned"),
    ],
)
def test_wrong_weights_are_refused(wrong: dict[str, Any], rule: str) -> None:
    with pytest.raises(EquipoiseError, match=rule):
        T.MultiTask(**wrong)


def test_one_weight_per_target_of_a_regression(targets: Data) -> None:
    with pytest.raises(EquipoiseError, match="3 weights for 2 targets"):
        cohort_of([[T.MultiTask(weights=(1.0, 2.0, 3.0)), T.SGD(0.1)]], targets)
    with pytest.raises(EquipoiseError, match="is for regress"):
        resolve(Recipe(T.MultiTask()), "classify")
