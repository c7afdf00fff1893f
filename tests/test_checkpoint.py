"""Resume: stopped or killed anywhere, training goes on to the same bits, for every technique by discovery."""

from __future__ import annotations

import errno
import json
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from equipoise import techniques as T
from equipoise.checkpoint import Folder, Stopped, filled, keeper, named
from equipoise.checkpoint.series import Series, read_signed, write_signed
from equipoise.data import Data
from equipoise.errors import EquipoiseError
from equipoise.plan import Options
from equipoise.recipe import Recipe
from equipoise.run import Run
from equipoise.technique import Technique
from equipoise.train import train
from equipoise.training import train_many

from .contract_cases import COMPANY, case, dataset, entry
from .models_of_users import mlp

ALL: list[type[Technique]] = [T.find(n) for n in T.names()]
QUICK: dict[str, Any] = {"epochs": 3, "batch_size": 16}
ARMS = (Recipe(T.Dropout(0.2), T.Momentum(0.1)), Recipe(T.AdamW(0.01), T.EarlyStopping(patience=1)))


def same(a: Run, b: Run) -> bool:
    """Weights, buffers, history and ending, bit for bit."""
    members = zip(getattr(a, "members", [a]), getattr(b, "members", [b]), strict=True)
    tensors = all(
        one.keys() == other.keys() and all(_bits(v) == _bits(other[k]) for k, v in one.items())
        for x, y in members
        for one, other in ((x.state[part], y.state[part]) for part in ("params", "buffers"))
    )
    return tensors and repr(a.history) == repr(b.history) and a.record.ended == b.record.ended


def _bits(v: torch.Tensor) -> bytes:
    return v.detach().contiguous().numpy().tobytes()


@pytest.fixture
def stop_at(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """``stop_at(n, signal)``: the process gets the signal in training step ``n``, once."""

    def stop(n: int, number: int = signal.SIGINT) -> None:
        waiting, calls = Folder.waiting, 0

        def counted(self: Folder) -> bool:
            nonlocal calls
            calls += 1
            if calls == n:
                os.kill(os.getpid(), number)
            return waiting(self)

        monkeypatch.setattr(Folder, "waiting", counted)

    return stop


# --- the same bits ----------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("kind", ALL, ids=lambda k: k.__name__)
def test_resumed_equals_uninterrupted(kind: type[Technique], tmp_path: Path, stop_at: Any) -> None:
    """Stopped in the middle of epoch 2 of 2: the state of the technique, its noise and its decisions all go on."""
    build, data = case(kind)
    recipe = Recipe(*COMPANY.get(kind.__name__, ()), entry(kind))
    how: dict[str, Any] = {"epochs": 2, "batch_size": 24, "seed": 3}
    whole = train(build, recipe, data, **how)
    steps = -(-len(data.rows["fit"]) // 24)
    stop_at(steps + 1)
    with pytest.raises(Stopped):
        train(build, recipe, data, **how, out=tmp_path)
    assert same(train(build, recipe, data, **how, out=tmp_path, resume=True), whole)


@pytest.mark.parametrize("step", [1, 2, 3, 5, 6])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_many_go_on_from_any_step(step: int, number: int, tmp_path: Path, stop_at: Any) -> None:
    """At the ends of epochs and between: stacked runs, one of which ends early with its best weights."""
    how = {**QUICK, "seeds": [1, 2]}
    whole = train_many(mlp, ARMS, dataset("table"), **how)
    stop_at(step, number)
    with pytest.raises(Stopped, match=rf"stopped after epoch {step // 3}.*resume=True"):
        train_many(mlp, ARMS, dataset("table"), **how, out=tmp_path)
    again = train_many(mlp, ARMS, dataset("table"), **how, out=tmp_path, resume=True)
    assert all(map(same, again, whole)) and again[0].record.plan["executor"] == "stacked"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["run-0000", "run-0001"]
