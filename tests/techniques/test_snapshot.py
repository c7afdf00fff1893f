"""Snapshot's rates against torch's warm restarts, its copies against the weights at the ends of the cycles."""

from __future__ import annotations

from itertools import pairwise
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn
from torch.optim import lr_scheduler

from equipoise import techniques as T
from equipoise.data import Data
from equipoise.errors import EquipoiseError
from equipoise.recipe import Recipe, resolve

from ..stepping import EXECUTORS, cohort_of, our_rates, own_of, params_of, steps, torch_rates


@pytest.mark.parametrize(("members", "floor"), [(5, 0.0), (4, 0.1), (1, 0.0)])
def test_the_rates_equal_torchs_warm_restarts(members: int, floor: float, targets: Data) -> None:
    def restarts(o: torch.optim.Optimizer) -> lr_scheduler.CosineAnnealingWarmRestarts:
        return lr_scheduler.CosineAnnealingWarmRestarts(o, 100 // members, eta_min=0.4 * floor)

    ours = our_rates(T.Snapshot(floor, members=members), data=targets)
    assert ours == pytest.approx(torch_rates(restarts, 100), rel=1e-12, abs=1e-15)


@pytest.mark.parametrize(("steps_in_all", "members"), [(10, 3), (7, 7), (3, 5), (1, 2)])
def test_every_cycle_starts_high_and_ends_low_at_any_length(steps_in_all: int, members: int) -> None:
    t = torch.arange(float(steps_in_all), dtype=torch.float64)
    rates = T.Snapshot(members=members).schedule(t, steps_in_all, torch.ones_like(t)).tolist()
    starts = {-(-m * steps_in_all // members) for m in range(members)} - {steps_in_all}
    assert {i for i, r in enumerate(rates) if r == 1.0} == starts
    assert all(b < a for i, (a, b) in enumerate(pairwise(rates)) if i + 1 not in starts)


@pytest.mark.parametrize("executor", EXECUTORS)
def test_the_copies_are_the_weights_at_the_ends_of_the_cycles(executor: Any, targets: Data) -> None:
    """30 steps in 4 cycles, which end after steps 8, 15, 23 and 30."""
    arms = [[T.Snapshot(members=4), T.SGD(r)] for r in (0.1, 0.3)]
    cohort = cohort_of(arms, targets, executor, epochs=6)
    seen: list[dict[int, Any]] = [{}, {}]
    for t, _ in enumerate(steps(cohort), 1):
        for i in range(2):
            seen[i][t] = params_of(cohort, i)
    for i in range(2):
        own = own_of(cohort, "Snapshot", i)
        assert float(own["taken"]) == 4
        for m, end in enumerate((8, 15, 23, 30)):
            assert all(torch.equal(own["copies"][n][m], v) for n, v in seen[i][end].items())


def normalized() -> nn.Module:
    return nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.Tanh(), nn.Linear(8, 2))


def test_members_at_the_end(targets: Data) -> None:
    """3 cycles of 10 steps: after 1 epoch none is complete, after 3 one, after 6 all; each has own statistics."""
    t = T.Snapshot(members=3)
    cohort = cohort_of([[t, T.SGD(0.3)]], targets, build=normalized, epochs=6)
    for epochs, made, members in ((1, 1, 1), (2, 3, 1), (3, 6, 3)):
        list(more(cohort, epochs))
        assert cohort.epoch == made
        state = cohort.executor.member(cohort.state, 0)
        at: Any = SimpleNamespace(state=state["own"]["Snapshot"], net=cohort.program.net)
        at.forward = cohort._passes(0, cohort.executor.member(cohort.const, 0))
        each = t.snapshots(state["params"], state["buffers"], at)
        assert len(each) == members
    statistics = [buffers["1.running_mean"] for _, buffers in each]
    x = targets.x[targets.rows["fit"]].double()  # type: ignore[index]
    for (params, _), mean in zip(each, statistics, strict=True):
        torch.testing.assert_close((x @ params["0.weight"].T + params["0.bias"]).mean(0), mean)


def more(cohort: Any, epochs: int) -> Any:
    for epoch in range(cohort.epoch, cohort.epoch + epochs):
        for now in cohort.feed.steps(epoch, [1.0]):
            cohort.state, _ = cohort.executor.step(cohort.state, cohort.const, now)
            yield now
        cohort.epoch += 1


def test_it_is_the_schedule_and_votes_on_classes() -> None:
    with pytest.raises(EquipoiseError, match="slot 'schedule', which holds one entry"):
        Recipe(T.Snapshot(), T.Cosine())
    with pytest.raises(EquipoiseError, match="each of them decides which members a run has"):
        Recipe(T.Snapshot(), T.Bagging())
    with pytest.raises(EquipoiseError, match="is for classify"):
        resolve(Recipe(T.Snapshot(mean="vote")), "regress")
    resolve(Recipe(T.Snapshot()), "regress")
