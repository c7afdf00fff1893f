"""SWA against torch's averaged model at the ends of the last epochs, with torch's fresh batch-norm statistics."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel, update_bn

import equipoise as eq
from equipoise import techniques as T
from equipoise.data import Data

from ..stepping import EXECUTORS, cohort_of, own_of, params_of, plain, steps


def normalized() -> nn.Module:
    return nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.Tanh(), nn.Linear(8, 2))


@pytest.mark.parametrize("executor", EXECUTORS)
def test_equals_torch(executor: Any, targets: Data) -> None:
    """8 epochs of 5 steps, averaged from 3/4 (the ends of epochs 6, 7, 8) and from 1/2 (4 to 8)."""
    from_, ends = (0.75, 0.5), ({30, 35, 40}, {20, 25, 30, 35, 40})
    cohort = cohort_of([[T.SGD(0.1), T.SWA(a)] for a in from_], targets, executor, build=normalized, epochs=8)
    nets = [plain(cohort, i, normalized) for i in range(2)]
    averages = [AveragedModel(net) for net in nets]
    for t, _ in enumerate(steps(cohort), 1):
        for i in range(2):
            if t in ends[i]:
                for n, p in nets[i].named_parameters():
                    p.data.copy_(params_of(cohort, i)[n])
                averages[i].update_parameters(nets[i])
    rows = targets.rows["fit"]
    for i in range(2):
        update_bn([targets.x[rows[a : a + 24]].double() for a in range(0, 120, 24)], averages[i])  # type: ignore[index]
        kept = cohort.result(i)
        for n, v in averages[i].module.state_dict().items():
            if "tracked" not in n:
                torch.testing.assert_close({**kept["params"], **kept["buffers"]}[n], v, rtol=1e-10, atol=1e-12)


def test_a_run_that_ends_before_the_average_keeps_its_weights(targets: Data) -> None:
    cohort = cohort_of([[T.SGD(0.1), T.SWA(0.75)]], targets, build=normalized, epochs=8)
    list(steps(cohort, 5))
    assert float(own_of(cohort, "SWA")["count"]) == 0
    kept, state = cohort.result(0), cohort.executor.member(cohort.state, 0)
    for part in ("params", "buffers"):
        assert all(torch.equal(kept[part][n], v) for n, v in state[part].items())


def test_off_is_the_run_without_it(table: Data) -> None:
    recipe = [T.SGD(0.2), T.BatchNorm()]
    runs = [eq.train("mlp(hidden=(8,))", [*recipe, *m], table, epochs=4) for m in ([], [T.SWA().switched_off()])]
    for part in ("params", "buffers"):
        a, b = (r.state[part] for r in runs)
        assert all(torch.equal(a[n], b[n]) for n in a)
