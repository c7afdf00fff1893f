"""Plateau against torch's scheduler on many curves, and in a training run."""

from __future__ import annotations

import json
import math

import pytest
import torch
from torch import nn
from torch.optim import lr_scheduler

import equipoise as eq
from equipoise import techniques as T
from equipoise.data import Data
from equipoise.errors import EquipoiseError
from equipoise.recipe import Recipe


def followed(t: T.Plateau, losses: list[float]) -> list[float]:
    """The rate after each epoch, from 1; the state goes through JSON, as in a checkpoint."""
    rate, state, rates, history = 1.0, {}, [], []
    for loss in losses:
        history.append({"epoch": len(history) + 1.0, "loss": 0.0, "rate": rate, "stop_loss": loss})
        state, verdict = t.epoch(history, json.loads(json.dumps(state)))
        assert not verdict.stop and not verdict.best
        rate *= verdict.factor
        rates.append(rate)
    return rates


@pytest.mark.parametrize(
    ("factor", "patience", "cooldown", "threshold", "floor"),
    [(0.1, 10, 0, 1e-4, 0.0), (0.5, 0, 0, 0.0, 0.0), (0.5, 2, 3, 0.02, 0.1), (0.7, 1, 1, 0.1, 0.4)],
)
def test_equals_torch(factor: float, patience: int, cooldown: int, threshold: float, floor: float) -> None:
    fell = False
    for seed in range(20):
        noise = torch.rand(80, generator=torch.Generator().manual_seed(seed)).tolist()
        losses = [math.exp(-0.1 * e) + 0.2 * u for e, u in enumerate(noise)]
        optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=1.0)
        theirs = lr_scheduler.ReduceLROnPlateau(
            optimizer, factor=factor, patience=patience, threshold=threshold, cooldown=cooldown, min_lr=floor, eps=0.0
        )
        rates = []
        for loss in losses:
            theirs.step(loss)
            rates.append(optimizer.param_groups[0]["lr"])
        ours = followed(T.Plateau(factor, threshold, floor, patience, cooldown), losses)
        assert ours == pytest.approx(rates, rel=1e-12)
        fell |= rates[-1] < 1.0
    assert fell


def test_off_never_changes_the_rate() -> None:
    assert followed(T.Plateau(patience=0).switched_off(), [1.0, 2.0, 3.0, 4.0]) == [1.0] * 4


def test_a_loss_that_is_no_number_is_no_progress() -> None:
    assert followed(T.Plateau(0.5, patience=1), [math.nan, 1.0, math.inf, math.nan, 1.0]) == [1.0, 1.0, 1.0, 0.5, 0.5]


def test_the_rate_of_a_training_run_falls(table: Data) -> None:
    """At a rate of 4 the stop loss does not settle: the curve's rates follow torch's rule on the curve's losses."""
    run = eq.train("mlp(hidden=(8,))", Recipe(T.SGD(4.0), T.Plateau(0.5, patience=1)), table, epochs=12, batch_size=32)
    losses = [row["stop_loss"] for row in run.history]
    rates = [4.0, *(4.0 * r for r in followed(T.Plateau(0.5, patience=1), losses))][: len(losses)]
    assert [row["rate"] for row in run.history] == pytest.approx(rates, rel=1e-12)
    assert rates[-1] < 4.0


def test_counts_are_whole_numbers() -> None:
    for wrong in ({"patience": -1}, {"patience": 1.5}, {"cooldown": -1}):
        with pytest.raises(EquipoiseError, match="a whole number from 0"):
            T.Plateau(**wrong)  # type: ignore[arg-type]
