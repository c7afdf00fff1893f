"""One process per folder: the second is told in one line, and a process that dies leaves nothing locked."""

from __future__ import annotations

import errno
import multiprocessing
import os
from collections.abc import Iterator
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import pytest

from equipoise import techniques as T
from equipoise.checkpoint import Stopped, lock
from equipoise.checkpoint.lock import Busy, Lock, held, refuse_in_use
from equipoise.recipe import Recipe
from equipoise.train import train
from equipoise.training import train_many

from .contract_cases import dataset
from .models_of_users import mlp

ARM = Recipe(T.Momentum(0.1))


def hold(path: Path, ready: Connection) -> None:
    """In a process of its own: hold the lock until killed."""
    Lock(path).acquire()
    ready.send(os.getpid())
    ready.poll(60)


@pytest.fixture
def holding(tmp_path: Path) -> Iterator[Any]:
    """A process that holds the lock of a training in ``tmp_path``."""
    context = multiprocessing.get_context("fork")
    here, there = context.Pipe()
    process = context.Process(target=hold, args=(tmp_path / "checkpoint" / lock.NAME, there))
    process.start()
    assert here.poll(30) and here.recv() == process.pid
    yield process
    process.kill()
    process.join()


def test_a_second_process_is_told_in_one_line_and_changes_nothing(holding: Any, tmp_path: Path) -> None:
    before = sorted(p.name for p in tmp_path.rglob("*"))
    for call in (
        lambda: train(mlp, ARM, dataset("table"), epochs=1, out=tmp_path, resume=True),
        lambda: train_many(mlp, [ARM], dataset("table"), seeds=[1], epochs=1, out=tmp_path, resume=True),
        lambda: refuse_in_use(tmp_path),
    ):
        with pytest.raises(Busy, match=f"in use by process {holding.pid} on .*: wait for it") as e:
            call()
        assert "\n" not in str(e.value)
    assert sorted(p.name for p in tmp_path.rglob("*")) == before == ["checkpoint", "lock"]


def test_a_killed_process_leaves_nothing_locked(holding: Any, tmp_path: Path) -> None:
    path = tmp_path / "checkpoint" / lock.NAME
    assert held(path)
    holding.kill()
    holding.join()
    assert not held(path)
    run = train(mlp, ARM, dataset("table"), epochs=1, out=tmp_path, resume=True)
    assert len(run.history) == 1 and sorted(p.name for p in tmp_path.iterdir()) == sorted(
        ["run.json", "history.csv", "recipe.yaml", "weights.safetensors", "state.safetensors"]
    )


def test_it_is_let_go_where_training_ends_or_stops(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("equipoise.checkpoint.Folder.waiting", lambda self: self._stop(2, None) or True)
    with pytest.raises(Stopped):
        train(mlp, ARM, dataset("table"), epochs=1, batch_size=8, out=tmp_path)
    assert (tmp_path / "checkpoint" / lock.NAME).is_file() and not held(tmp_path / "checkpoint" / lock.NAME)


def test_a_removed_lock_file_is_not_mistaken_for_the_new_one(tmp_path: Path) -> None:
    """A process that opened the file before its holder removed it would hold a lock nobody else sees."""
    path, system, calls = tmp_path / "lock", lock._system_lock, 0

    def removed_meanwhile(handle: int) -> None:
        nonlocal calls
        calls += 1
        system(handle)
        if calls == 1:
            path.unlink()

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(lock, "_system_lock", removed_meanwhile)
        mine = Lock(path).acquire()
    assert calls == 2 and held(path)
    mine.release()
    assert not held(path)


def test_a_file_system_without_locks_refuses_nobody(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def none(handle: int) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(lock, "_system_lock", none)
    with Lock(tmp_path / "lock"), Lock(tmp_path / "lock"):
        assert not held(tmp_path / "lock")
