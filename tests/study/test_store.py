"""The store of a study: what is recorded is there after a kill, nothing is claimed twice, and a damaged or hostile file
is refused in one line."""

from __future__ import annotations

import multiprocessing
import os
import pickle
import sqlite3
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from equipoise.errors import EquipoiseError
from equipoise.study.arrays import packed, unpacked
from equipoise.study.store import NAME, Claim, Key, Result, Store

FORK = multiprocessing.get_context("fork")
RESULT = Result(0.1 + 0.2, 1.5, 0.25, "", True, [{"loss": 1e-300}, {"loss": float("nan")}], ["ä note"], {})


def result(seed: int) -> Result:
    rng = np.random.default_rng(seed)
    arrays = {"loss": rng.normal(size=7), "prediction": rng.normal(size=(3, 2)).astype(np.float32)}
    return Result(float("nan"), 2.0, 0.0, "the loss became nan", False, [], [], arrays)


def planned(path: Path | None, cohorts: int, each: int = 2) -> Store:
    """A store with so many cohorts of one phase, and a worker."""
    store = Store(path)
    store.begin({"asked": {"epochs": 3}}, {"targets": np.eye(3)})
    keys = [[Key(c, 0.25, s) for s in range(each)] for c in range(cohorts)]
    store.plan("design", [(0, {"compiled": False}, k) for k in keys])
    store.enlist("me", "process 1", [])
    return store


def alive(worker: str, beat: float) -> bool:
    return False


def dead(worker: str, beat: float) -> bool:
    return True


def taken(store: Store, worker: str = "me", judge: Callable[[str, float], bool] = alive) -> Claim:
    claim = store.claim("design", worker, judge)
    assert claim is not None
    return claim


# --- what is recorded -------------------------------------------------------------------------------------------------
def test_results_come_back_bit_for_bit(tmp_path: Path) -> None:
    with planned(tmp_path / NAME, 1) as store:
        claim = taken(store)
        assert claim.plan == {"compiled": False} and claim.keys == [Key(0, 0.25, 0), Key(0, 0.25, 1)]
        assert store.record("me", claim, [RESULT, result(1)])
    with Store(tmp_path / NAME) as store:
        (key, program, first), (_, _, second) = store.results("design")
        assert (key, program) == (Key(0, 0.25, 0), 0) and repr(first) == repr(RESULT)
        assert np.isnan(second.stop) and second.failed == "the loss became nan"
        for name, values in result(1).arrays.items():
            assert second.arrays[name].dtype == values.dtype and second.arrays[name].tobytes() == values.tobytes()
            assert second.arrays[name].shape == values.shape
        targets = store.array("targets")
        assert targets is not None and (targets == np.eye(3)).all() and store.array("groups") is None
        assert store.fact("asked") == {"epochs": 3} and store.spent() == [("design", 3.5, 0.25)]


def test_a_fact_is_settled_once(tmp_path: Path) -> None:
    with planned(tmp_path / NAME, 1) as mine, Store(tmp_path / NAME) as other:
        assert mine.settle("confirm 1", [1]) == other.settle("confirm 1", [2]) == [1]
        assert not other.begin({}, {})
        mine.plan("design", [(0, {}, [Key(0, 0.25, 0), Key(5, 0.25, 0)])])  # of which one is planned already
        assert Key(5, 0.25, 0) not in other.planned("design")
        mine.finish(1, [0, 1], {"total": 1.0})
        other.finish(1, [0, 1], {"total": 2.0})
        assert mine.looks() == [(1, [0, 1], {"total": 1.0})]


def _record_and_be_killed(path: Path, inside: bool) -> None:
    store = Store(path)
    claim = taken(store)
    if inside:  # in the middle of the transaction, some rows written
        store._db.set_trace_callback(lambda sql: os.kill(os.getpid(), 9) if "COMMIT" in sql else None)
    store.record("me", claim, [result(1), result(2)])
    os.kill(os.getpid(), 9)


@pytest.mark.parametrize("inside", [False, True])
def test_a_killed_process_leaves_whole_cohorts(inside: bool, tmp_path: Path) -> None:
    planned(tmp_path / NAME, 2).close()
    process = FORK.Process(target=_record_and_be_killed, args=(tmp_path / NAME, inside))
    process.start()
    process.join(30)
    assert process.exitcode == -9
    with Store(tmp_path / NAME) as store:
        assert len(list(store.results("design"))) == (0 if inside else 2)
        assert store.states() == ({"taken": 2, "waiting": 2} if inside else {"done": 2, "waiting": 2})
        assert len(store._rows("SELECT * FROM arrays WHERE run > 0")) == (0 if inside else 4)


# --- who runs it ------------------------------------------------------------------------------------------------------
def test_what_the_dead_had_is_taken_over_and_nothing_else() -> None:
    store = planned(None, 3)
    for worker in ("a", "b", "c"):
        store.enlist(worker, worker, [])
    first, second = taken(store, "a"), taken(store, "b")
    assert [first.cohort, second.cohort] == [1, 2] and taken(store, "c").cohort == 3
    assert store.claim("design", "c", alive) is None and store.claim("halves", "c", dead) is None
    over = taken(store, "c", lambda worker, beat: worker == "a")
    assert over == first
    assert not store.record("a", first, [result(1), result(2)])  # it was not dead, only late: nothing is written twice
    assert store.record("c", over, [result(1), result(2)]) and not store.record("c", over, [result(3), result(4)])
    store.release("b")
    assert store.states() == {"done": 2, "waiting": 2, "taken": 2} and taken(store, "c").cohort == 2


def test_the_last_beat_is_what_tells_of_life() -> None:
    store, seen = planned(None, 1), []
    taken(store)
    began = time.time()
    store.beat("me", 12.5)
    store.claim("design", "you", lambda worker, beat: seen.append((worker, beat)) or False)  # type: ignore[func-returns-value]
    assert [w for w, _ in seen] == ["me"] and began <= seen[0][1] <= time.time() and store.worked() == 12.5


def test_failed_cohorts_are_told_and_tried_again() -> None:
    store = planned(None, 1)
    store.fail("me", taken(store).cohort, "no memory")
    assert store.errors("design") == ["no memory"] and store.claim("design", "me", dead) is None
    store.enlist("next", "process 2", ["a note", "a note"])
    assert store.errors("design") == [] and taken(store, "next").cohort == 1 and store.notes() == ["a note"]


def _claim_all(path: Path, worker: str, met: Any, found: Any) -> None:
    """Nobody goes on before everybody has claimed once."""
    with Store(path) as store:
        store.enlist(worker, worker, [])
        first = True
        while (claim := store.claim("design", worker, alive)) is not None:
            if first:
                met.wait(60)
            first = False
            store.record(worker, claim, [result(claim.cohort)])
            found.put((worker, claim.cohort))


def test_processes_share_the_cohorts_and_none_is_claimed_twice(tmp_path: Path) -> None:
    planned(tmp_path / NAME, 40, each=1).close()
    found, met = FORK.SimpleQueue(), FORK.Barrier(4)
    processes = [FORK.Process(target=_claim_all, args=(tmp_path / NAME, w, met, found)) for w in "abcd"]
    for p in processes:
        p.start()
    claims = [found.get() for _ in range(40)]
    for p in processes:
        p.join(60)
        assert p.exitcode == 0
    assert (
        sorted(c for _, c in claims) == list(range(1, 41)) and found.empty() and {w for w, _ in claims} == set("abcd")
    )
    with Store(tmp_path / NAME) as store:
        assert store.states() == {"done": 40}


# --- faults -----------------------------------------------------------------------------------------------------------
def refused(path: Path, use: Callable[[Store], Any] = lambda store: None) -> str:
    with pytest.raises(EquipoiseError) as e, Store(path) as store:
        use(store)
    assert "\n" not in str(e.value)
    return str(e.value)


def changed(path: Path, sql: str, *values: Any) -> None:
    db = sqlite3.connect(path)
    db.execute("PRAGMA writable_schema = ON")
    with db:
        db.execute(sql, values)
    db.close()


def test_a_full_disk_is_one_line_and_what_was_written_stays(tmp_path: Path) -> None:
    with planned(tmp_path / NAME, 2) as store:
        assert store.record("me", taken(store), [result(1), result(2)])
        pages = store._db.execute("PRAGMA page_count").fetchone()[0]
        store._db.execute(f"PRAGMA max_page_count = {pages}")
        large = Result(1.0, 1.0, 0.0, "", False, [], [], {"loss": np.zeros(100_000)})
        claim = taken(store)
        with pytest.raises(EquipoiseError, match=r"full.*all that was written before is intact"):
            store.record("me", claim, [large, large])
    with Store(tmp_path / NAME) as store:
        assert store.states() == {"done": 2, "taken": 2} and len(list(store.results("design"))) == 2


@pytest.mark.parametrize(
    "content", [b"", b"not a database, but long enough to be looked at" * 50, pickle.dumps([1] * 999)]
)
def test_a_file_that_is_no_database(content: bytes, tmp_path: Path) -> None:
    (tmp_path / NAME).write_bytes(content)
    if content:
        assert "is damaged or no study" in refused(tmp_path / NAME)
    else:  # killed before the first transaction
        with Store(tmp_path / NAME) as store:
            assert not store.begun


@pytest.mark.parametrize("keep", [0.3, 0.9])
def test_a_truncated_file(keep: float, tmp_path: Path) -> None:
    with planned(tmp_path / NAME, 1) as store:
        store.record("me", taken(store), [result(1), result(2)])
        store._db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    whole = (tmp_path / NAME).read_bytes()
    (tmp_path / NAME).write_bytes(whole[: int(len(whole) * keep)])
    assert "is damaged or no study" in refused(tmp_path / NAME, lambda s: (s.begun, list(s.results("design"))))


@pytest.mark.parametrize(
    ("sql", "why"),
    [
        ("CREATE TRIGGER t AFTER UPDATE ON runs BEGIN DELETE FROM arrays; END", "tables are not those"),
        ("CREATE VIEW v AS SELECT 1", "tables are not those"),
        ("DROP TABLE looks", "tables are not those"),
        ("PRAGMA user_version = 2", "schema 2"),
        ("PRAGMA application_id = 7", "no store of a study"),
    ],
)
def test_other_tables_are_refused(sql: str, why: str, tmp_path: Path) -> None:
    planned(tmp_path / NAME, 1).close()
    changed(tmp_path / NAME, sql)
    assert why in refused(tmp_path / NAME)


class Hostile:
    def __reduce__(self) -> Any:
        return os.mkdir, ("executed",)


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("dtype", "|O"),
        ("dtype", "<f4"),
        ("shape", "[-7]"),
        ("shape", "[7, 7]"),
        ("shape", "[true, 7]"),
        ("shape", "__import__('os')"),
        ("data", pickle.dumps(Hostile())),
        ("data", "text"),
        ("data", np.arange(7.0).tobytes()),  # the right size, other numbers
        ("sha256", 7),
    ],
)
def test_an_array_that_was_changed_is_refused_and_runs_nothing(
    column: str, value: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with planned(tmp_path / NAME, 1) as store:
        store.record("me", taken(store), [result(1), result(2)])
    changed(tmp_path / NAME, f"UPDATE arrays SET {column} = ? WHERE run = 1 AND name = 'loss'", value)
    assert "is damaged or no study" in refused(tmp_path / NAME, lambda s: list(s.results("design")))
    assert not Path("executed").exists()


@pytest.mark.parametrize("what", ["history = '{'", "seconds = 'x'", "notes = x'00'", "arm = 'x'", "failed = NULL"])
def test_a_run_that_was_changed_is_refused(what: str, tmp_path: Path) -> None:
    with planned(tmp_path / NAME, 1) as store:
        store.record("me", taken(store), [result(1), result(2)])
    changed(tmp_path / NAME, f"UPDATE runs SET {what}")
    assert "is damaged or no study" in refused(tmp_path / NAME, lambda s: list(s.results("design")))


@pytest.mark.parametrize(
    "array",
    [
        np.arange(6.0).reshape(2, 3),
        np.zeros((0, 4)),
        np.float32([1.5]),
        np.array([True, False]),
        np.asfortranarray(np.eye(3)),
    ],
)
def test_arrays_are_what_they_were(array: np.ndarray[Any, Any]) -> None:
    np.testing.assert_array_equal(unpacked(*packed(array)), array)
