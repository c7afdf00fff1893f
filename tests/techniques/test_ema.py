"""EMA against the weighted mean of all iterates, torch's averaged model, and torch's fresh batch-norm statistics."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_avg_fn, update_bn

import equipoise as eq
from equipoise import techniques as T
from equipoise.data import Data
from equipoise.errors import EquipoiseError
from equipoise.recipe import Recipe

from ..stepping import EXECUTORS, cohort_of, own_of, params_of, plain, steps


@pytest.mark.parametrize("executor", EXECUTORS)
def test_it_keeps_the_weighted_mean_of_all_iterates(executor: Any, targets: Data) -> None:
    """Σ_t d^(T−t) θ_t/Σ_t d^(T−t), t = 1 … T: the start has no weight."""
    decays = (0.9, 0.99)
    cohort = cohort_of([[T.SGD(0.1), T.EMA(d)] for d in decays], targets, executor, epochs=6)
    iterates: list[list[Any]] = [[], []]
    for _ in steps(cohort):
        for i in range(2):
            iterates[i].append(params_of(cohort, i))
    for i, d in enumerate(decays):
        shares = [d**k for k in reversed(range(30))]
        kept = cohort.result(i)["params"]
        for n in kept:
            mean = sum(s * p[n] for s, p in zip(shares, iterates[i], strict=True)) / sum(shares)
            torch.testing.assert_close(kept[n], mean, rtol=1e-12, atol=1e-14)
        assert any(float((kept[n] - iterates[i][-1][n]).abs().max()) > 1e-4 for n in kept)


def test_without_its_correction_it_is_torchs(targets: Data) -> None:
    """torch starts its average at the first iterate: it is ours plus dᵀ⁻¹ times that iterate's excess."""
    cohort = cohort_of([[T.SGD(0.1), T.EMA(0.8)]], targets, epochs=4)
    net = plain(cohort)
    averaged = AveragedModel(net, avg_fn=get_ema_avg_fn(0.8))
    first = {}
    for _ in steps(cohort):
        for n, p in net.named_parameters():
            p.data.copy_(params_of(cohort)[n])
        averaged.update_parameters(net)  # the first call copies
        first = first or dict(params_of(cohort))
    mean = own_of(cohort, "EMA")["mean"]
    for n, p in averaged.module.named_parameters():
        torch.testing.assert_close(p.detach(), mean[n] + 0.8**20 * first[n], rtol=1e-12, atol=1e-14)


def normalized() -> nn.Module:
    """A network with batch norms of its own, one of them with the cumulative average."""
    return nn.Sequential(
        nn.Linear(6, 8), nn.BatchNorm1d(8, momentum=0.3), nn.Tanh(), nn.Linear(8, 5),
        nn.BatchNorm1d(5, momentum=None), nn.Tanh(), nn.Linear(5, 2),
    )  # fmt: skip


def test_batch_norm_statistics_are_measured_for_the_average(targets: Data) -> None:
    """120 fit rows in batches of 24: torch's update_bn over the same batches, for the averaged weights."""
    cohort = cohort_of([[T.SGD(0.1), T.EMA(0.9)]], targets, build=normalized, epochs=4)
    list(steps(cohort))
    kept = cohort.result(0)
    net = normalized().double()
    net.load_state_dict({**kept["params"], **kept["buffers"]})
    before = copy.deepcopy(net.state_dict())
    rows = targets.rows["fit"]
    update_bn([targets.x[rows[a : a + 24]].double() for a in range(0, 120, 24)], net)  # type: ignore[index]
    for n, v in net.state_dict().items():
        if "running" in n:
            torch.testing.assert_close(before[n], v, rtol=1e-10, atol=1e-12)
    trained = cohort.executor.member(cohort.state, 0)["buffers"]
    assert float((trained["1.running_mean"] - kept["buffers"]["1.running_mean"]).abs().max()) > 1e-3


def test_our_batch_norm_is_measured_anew_too(table: Data) -> None:
    """A uneven last batch counts by its rows."""
    recipe = [T.SGD(0.2), T.BatchNorm(), T.EMA(0.9)]
    run = eq.train("mlp(hidden=(8,))", recipe, table, epochs=3, batch_size=50)
    p, x = run.state["params"], table.x[table.rows["fit"]]  # type: ignore[index]
    x = (x - x.mean(0)) / x.std(0, correction=0)
    name = next(n for n in run.state["buffers"] if n.endswith("running_mean")).removesuffix(
        ".normalization.running_mean"
    )
    parts = [x[:50], x[50:100], x[100:]]
    means = [(part @ p[f"{name}.weight"].T).mean(0) for part in parts]
    mean = sum(len(part) * m for part, m in zip(parts, means, strict=True)) / len(x)
    torch.testing.assert_close(run.state["buffers"][f"{name}.normalization.running_mean"], mean, rtol=1e-4, atol=1e-5)


def test_off_is_the_run_without_it(table: Data) -> None:
    recipe = [T.SGD(0.2), T.BatchNorm()]
    runs = [eq.train("mlp(hidden=(8,))", [*recipe, *more], table, epochs=3) for more in ([], [T.EMA().switched_off()])]
    for part in ("params", "buffers"):
        a, b = (r.state[part] for r in runs)
        assert all(torch.equal(a[n], b[n]) for n in a)


def test_two_averages_exclude_each_other() -> None:
    with pytest.raises(EquipoiseError, match="each of them decides which weights are kept"):
        Recipe(T.EMA(), T.SWA())
