"""What is predicted of a step's memory and time against measured peaks and runs."""

from __future__ import annotations

import importlib
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.profiler import ProfilerActivity, profile

from equipoise import techniques as T
from equipoise.cohort import Cohort
from equipoise.data import Data
from equipoise.executor import Stack
from equipoise.feed import Schedule
from equipoise.plan import STACK, Member, Options, group
from equipoise.programs import make_program
from equipoise.recipe import Recipe, resolve
from equipoise.study.probing import Footprint, measured

FAST = Options(threads=1, compile="never")


def peak(work: Callable[[], Any]) -> int:
    """Bytes allocated by ``work`` at its highest, as PyTorch's own profiler counts them."""
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as found:
        work()
    profiler: Any = found.profiler
    events = [e for e in profiler.kineto_results.events() if e.name() == "[memory]"]
    return int(np.cumsum([e.nbytes() for e in sorted(events, key=lambda e: e.start_ns())]).max())


def cohort(model: str, recipe: Recipe, data: Data, runs: int, batch: int) -> Cohort:
    members = [Member(recipe, seed) for seed in range(runs)]
    [(techniques, _)] = group(members)
    program = make_program(model, techniques, members[0], data, FAST)
    return Cohort(program, members, data, Schedule(1, batch))


@pytest.mark.parametrize(
    ("model", "entries", "shape", "batch", "runs"),
    [
        ("mlp(hidden=(64,64))", (T.BatchNorm(), T.Dropout(0.3), T.MixUp(0.2)), (64,), 64, 1),
        ("mlp(hidden=(64,64))", (T.BatchNorm(), T.Dropout(0.3), T.MixUp(0.2)), (64,), 64, 3),
        ("mlp(hidden=(256,256))", (T.Dropout(0.3),), (256,), 8, 3),  # parameters outweigh activations
        ("mlp(hidden=(512,512))", (T.Dropout(0.3),), (256,), 16, 1),
        ("mlp(hidden=(1024,1024))", (T.Dropout(0.3),), (784,), 16, 3),  # so large that runs go one by one
        ("cnn", (T.BatchNorm(),), (3, 12, 12), 32, 1),  # activations outweigh parameters
    ],
)
def test_the_peak_of_a_step_is_predicted_to_a_factor_of_one_and_a_half(
    model: str, entries: tuple[Any, ...], shape: tuple[int, ...], batch: int, runs: int
) -> None:
    data = Data(np.random.default_rng(0).normal(size=(120, *shape)).astype("float32"), np.arange(120) % 10)
    recipe = resolve(list(entries), "classify")
    step = measured(model, recipe, data, Schedule(1, batch), FAST, runs)
    trained = cohort(model, recipe, data, runs, batch)
    assert isinstance(trained.executor, Stack) == (step.stack > 1) and step.cohort == runs
    now = next(trained.feed.steps(0, [1.0] * runs))
    trained.executor.step(trained.state, trained.const, now)
    found = peak(lambda: trained.executor.step(trained.state, trained.const, now))
    predicted = step.memory - 3 * runs * step.footprint.state  # the states that are there already
    assert predicted / 1.5 < found < predicted * 1.5


def test_bytes_are_those_of_the_tensors() -> None:
    """A linear map 20 → 3 under Adam: W and b, twice that as moments; saved: the inputs, and the log-softmax."""
    data = Data(np.random.default_rng(0).normal(size=(120, 20)).astype("float32"), np.arange(120) % 3)
    model = lambda: nn.Linear(20, 3)  # noqa: E731
    found = measured(model, resolve([T.AdamW()], "classify"), data, Schedule(1, 16), FAST, 1).footprint
    assert (found.params, found.own, found.buffers) == (63 * 4, 2 * 63 * 4, 0)
    assert 16 * (20 + 3) * 4 <= found.saved <= 16 * (20 + 6 * 3) * 4
    more = measured(model, resolve([T.AdamW()], "classify"), data, Schedule(1, 32), FAST, 1).footprint
    assert 1.8 * found.saved < more.saved < 2.2 * found.saved  # it grows with the batch, the rest does not
    assert more.params == found.params


def test_a_stack_has_what_its_runs_have() -> None:
    found = Footprint(params=100, buffers=10, own=200, saved=1000)
    assert found.state == 310 and found.step(1) == 100 + 1000 and found.step(4) == 4 * (100 + 2000)
    assert Footprint(100, 0, 200, 0).step(1) == 100 + 500  # the update outweighs the backward pass
    assert found.training(2, 2) == 6 * 310 + found.step(2)
    assert found.training(8, 1) == 31 * 310 + found.step(1)  # one by one, all new states are there at the end


def test_seconds_are_those_of_training(table: Data) -> None:
    """Predicted seconds of a stack against its training, within a factor of ten on a machine that does other work."""
    recipe, schedule = resolve([T.Dropout(0.3)], "classify"), Schedule(10, 8)
    step = measured("mlp(hidden=(16,))", recipe, table, schedule, FAST, 6)
    assert (step.cohort, step.stack, step.timed) == (6, 6, 6)
    trained = cohort("mlp(hidden=(16,))", recipe, table, 6, 8)
    began = time.perf_counter()
    trained.train_epoch()
    seconds = time.perf_counter() - began
    predicted = 6 * (step.seconds * len(trained.feed.batches) + step.scoring)
    assert predicted / 10 < seconds < predicted * 10


def test_what_would_take_long_is_timed_on_one_run(table: Data, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.import_module("equipoise.study.probing"), "PATIENCE", 0.0)
    step = measured("mlp(hidden=(16,))", resolve(None, "classify"), table, Schedule(1, 8), FAST, 100)
    assert (step.cohort, step.stack, step.timed) == (STACK, STACK, 1) and step.seconds > 0.0


def test_a_model_that_cannot_be_stacked_is_priced_alone(sequences: Data) -> None:
    class Recurrent(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.lstm, self.head = nn.LSTM(4, 8, batch_first=True), nn.Linear(8, 2)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.head(self.lstm(x)[0][:, -1])

    step = measured(Recurrent, resolve(None, "classify"), sequences, Schedule(1, 16), FAST, 24)
    assert (step.cohort, step.stack, step.timed) == (24, 1, 1)
