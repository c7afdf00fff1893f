"""The store of a study: one SQLite file with the question, every planned run and its state, and every result.

A cohort's results are written in one transaction that is on the disk when it returns, so a kill or a power cut loses at
most what was in training. Several processes of one machine may hold the file open: cohorts are claimed by transactions,
and those of a process that died are taken over. What a file holds is numbers, text and JSON; nothing of it is ever
unpickled or run.
"""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, Self

import numpy as np

from ..errors import EquipoiseError
from .arrays import packed, unpacked
from .tables import connect, create

Array = np.ndarray[Any, Any]
NAME = "study.sqlite"
OWN = 0  # the run number of arrays that belong to the study itself


class Key(NamedTuple):
    """A planned run: its arm, the factor of its learning rate, its seed."""

    arm: int
    rate: float
    seed: int


@dataclass(frozen=True)
class Result:
    """What is kept of a finished run. ``capped``: scored as the fallback; ``stop``: its loss on `stop`, NaN without
    rows."""

    stop: float
    seconds: float
    compiling: float
    failed: str
    capped: bool
    history: list[dict[str, float]]
    notes: list[str]
    arrays: dict[str, Array] = field(default_factory=dict)


@dataclass(frozen=True)
class Claim:
    """A cohort that this process trains: its number, how, and its runs."""

    cohort: int
    plan: dict[str, Any]
    keys: list[Key]


class Store:
    """An open store; ``path`` None keeps it in memory. `begun` tells whether it holds a study."""

    def __init__(self, path: Path | None) -> None:
        self.path = path
        with self._guarded():
            self._db = connect(path)

    def close(self) -> None:
        self._db.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @contextmanager
    def _guarded(self) -> Iterator[None]:
        """What SQLite and the disk refuse, in one line."""
        try:
            yield
        except sqlite3.IntegrityError:
            raise
        except (sqlite3.OperationalError, OSError) as e:
            raise EquipoiseError(
                f"cannot read or write {self.path} ({e}); all that was written before is intact: make room or make it "
                "writable, then resume."
            ) from None
        except (sqlite3.Error, ValueError, TypeError, KeyError, RecursionError) as e:
            if isinstance(e, EquipoiseError):
                raise
            raise EquipoiseError(
                f"{self.path} is damaged or no study ({' '.join(str(e).split())[:120]}): restore it, or choose another "
                "folder."
            ) from None

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        """All of it or nothing; other processes wait meanwhile."""
        with self._guarded():
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield self._db
                self._db.execute("COMMIT")
            except BaseException:
                if self._db.in_transaction:  # a full disk has rolled it back already
                    self._db.execute("ROLLBACK")
                raise

    def _rows(self, query: str, *values: Any) -> list[tuple[Any, ...]]:
        with self._guarded():
            return self._db.execute(query, values).fetchall()

    # --- the question ----------------------------------------------------------------------------------------------
    @property
    def begun(self) -> bool:
        return bool(self._rows("SELECT 1 FROM sqlite_master WHERE name = 'facts'"))

    def begin(self, facts: Mapping[str, Any], arrays: Mapping[str, Array]) -> bool:
        """Write the question; False where another process has been faster."""
        with self._transaction() as db:
            if db.execute("SELECT 1 FROM sqlite_master WHERE name = 'facts'").fetchone():
                return False
            create(db)
            db.executemany("INSERT INTO facts VALUES (?, ?)", [(k, json.dumps(v)) for k, v in facts.items()])
            db.executemany("INSERT INTO arrays VALUES (?, ?, ?, ?, ?, ?)", _packed(OWN, arrays))
        return True

    def fact(self, name: str, default: Any = None) -> Any:
        rows = self._rows("SELECT value FROM facts WHERE name = ?", name)
        with self._guarded():
            return json.loads(rows[0][0]) if rows else default

    def settle(self, name: str, value: Any) -> Any:
        """Write a fact that all processes must share, unless one has; what it is now."""
        with self._transaction() as db:
            db.execute("INSERT OR IGNORE INTO facts VALUES (?, ?)", (name, json.dumps(value)))
        return self.fact(name)

    def replace(self, name: str, value: Any) -> None:
        with self._transaction() as db:
            db.execute("INSERT OR REPLACE INTO facts VALUES (?, ?)", (name, json.dumps(value)))

    def array(self, name: str, run: int = OWN) -> Array | None:
        rows = self._rows("SELECT dtype, shape, sha256, data FROM arrays WHERE run = ? AND name = ?", run, name)
        with self._guarded():
            return unpacked(*rows[0]) if rows else None

    # --- what is to be run -------------------------------------------------------------------------------------------
    def planned(self, phase: str) -> set[Key]:
        return {Key(*row) for row in self._rows("SELECT arm, rate, seed FROM runs WHERE phase = ?", phase)}

    def plan(self, phase: str, cohorts: Sequence[tuple[int, dict[str, Any], Sequence[Key]]]) -> None:
        """Plan cohorts of (program, how, runs), all of them or, where another process did, none."""
        try:
            with self._transaction() as db:
                for program, how, keys in cohorts:
                    new = "INSERT INTO cohorts (phase, program, plan, state) VALUES (?, ?, ?, 'waiting')"
                    number = db.execute(new, (phase, program, json.dumps(how))).lastrowid
                    insert = "INSERT INTO runs (cohort, phase, arm, rate, seed) VALUES (?, ?, ?, ?, ?)"
                    db.executemany(insert, [(number, phase, *key) for key in keys])
        except sqlite3.IntegrityError:
            return

    def states(self, phase: str | None = None) -> dict[str, int]:
        """How many planned runs are waiting, taken, done, failed."""
        rows = self._rows(
            "SELECT state, count(*) FROM cohorts JOIN runs ON runs.cohort = cohorts.id "
            "WHERE ? IS NULL OR cohorts.phase = ? GROUP BY state", phase, phase,
        )  # fmt: skip
        return dict(rows)

    def errors(self, phase: str) -> list[str]:
        return [e for (e,) in self._rows("SELECT error FROM cohorts WHERE phase = ? AND state = 'failed'", phase)]

    # --- who runs it -------------------------------------------------------------------------------------------------
    def enlist(self, worker: str, process: str, notes: Sequence[str]) -> None:
        """A process that takes part; cohorts that failed are tried again."""
        with self._transaction() as db:
            db.execute("INSERT INTO workers VALUES (?, ?, ?, 0, ?)", (worker, process, time.time(), json.dumps(notes)))
            db.execute("UPDATE cohorts SET state = 'waiting', worker = NULL, error = '' WHERE state = 'failed'")

    def beat(self, worker: str, seconds: float) -> None:
        """A sign of life, and how long the process has worked."""
        with self._transaction() as db:
            db.execute("UPDATE workers SET beat = ?, seconds = ? WHERE id = ?", (time.time(), seconds, worker))

    def claim(self, phase: str, worker: str, dead: Callable[[str, float], bool]) -> Claim | None:
        """The next cohort that nobody trains, or whose worker is ``dead`` (id, last beat); it is this worker's now."""
        with self._transaction() as db:
            for number, plan, state, owner, beat in db.execute(
                "SELECT cohorts.id, plan, state, worker, beat FROM cohorts LEFT JOIN workers ON workers.id = worker "
                "WHERE phase = ? AND state IN ('waiting', 'taken') ORDER BY cohorts.id", (phase,),
            ).fetchall():  # fmt: skip
                if state == "waiting" or owner is None or dead(owner, beat or 0.0):
                    db.execute("UPDATE cohorts SET state = 'taken', worker = ? WHERE id = ?", (worker, number))
                    keys = db.execute("SELECT arm, rate, seed FROM runs WHERE cohort = ? ORDER BY id", (number,))
                    return Claim(number, json.loads(plan), [Key(*row) for row in keys])
        return None

    def release(self, worker: str) -> None:
        """Hand back what was claimed and is not done."""
        with self._transaction() as db:
            db.execute(
                "UPDATE cohorts SET state = 'waiting', worker = NULL WHERE worker = ? AND state = 'taken'", (worker,)
            )

    def fail(self, worker: str, cohort: int, error: str) -> None:
        with self._transaction() as db:
            db.execute(
                "UPDATE cohorts SET state = 'failed', error = ? WHERE id = ? AND worker = ? AND state = 'taken'",
                (error, cohort, worker),
            )

    def workers(self) -> int:
        """How many processes have taken part so far."""
        return int(self._rows("SELECT count(*) FROM workers")[0][0])

    def worked(self) -> float:
        """Seconds they have worked, together."""
        return float(self._rows("SELECT total(seconds) FROM workers")[0][0])

    def notes(self) -> list[str]:
        """What they had to say, each once."""
        with self._guarded():
            said = [json.loads(v) for (v,) in self._rows("SELECT notes FROM workers ORDER BY rowid")]
        return list(dict.fromkeys(str(n) for notes in said for n in notes))

    # --- results -----------------------------------------------------------------------------------------------------
    def record(self, worker: str, claim: Claim, results: Sequence[Result]) -> bool:
        """All results of a cohort at once; False where another process took it over meanwhile."""
        with self._transaction() as db:
            mine = "UPDATE cohorts SET state = 'done' WHERE id = ? AND worker = ? AND state = 'taken'"
            if db.execute(mine, (claim.cohort, worker)).rowcount == 0:
                return False
            runs = [n for (n,) in db.execute("SELECT id FROM runs WHERE cohort = ? ORDER BY id", (claim.cohort,))]
            for run, r in zip(runs, results, strict=True):
                values = (
                    r.stop,
                    r.seconds,
                    r.compiling,
                    r.failed,
                    r.capped,
                    json.dumps(r.history),
                    json.dumps(r.notes),
                )
                db.execute(
                    "UPDATE runs SET stop = ?, seconds = ?, compiling = ?, failed = ?, capped = ?, history = ?, "
                    "notes = ? WHERE id = ?", (*values, run),
                )  # fmt: skip
                db.executemany("INSERT INTO arrays VALUES (?, ?, ?, ?, ?, ?)", _packed(run, r.arrays))
        return True

    def results(self, phase: str) -> Iterator[tuple[Key, int, Result]]:
        """Every finished run of a phase, in the order planned: its key, program and result."""
        query = (
            "SELECT runs.id, program, arm, rate, seed, stop, seconds, compiling, failed, capped, history, notes "
            "FROM runs JOIN cohorts ON cohorts.id = cohort WHERE runs.phase = ? AND state = 'done' ORDER BY runs.id"
        )
        for run, program, arm, rate, seed, stop, seconds, compiling, failed, capped, history, notes in self._rows(
            query, phase
        ):
            arrays = self._rows("SELECT name, dtype, shape, sha256, data FROM arrays WHERE run = ?", run)
            with self._guarded():
                if not isinstance(failed, str):
                    raise TypeError(f"run {run} is done, but has no result")
                result = Result(
                    float("nan") if stop is None else float(stop), float(seconds), float(compiling), failed,
                    bool(capped), json.loads(history), json.loads(notes),
                    {name: unpacked(*rest) for name, *rest in arrays},
                )  # fmt: skip
                key, number = Key(int(arm), float(rate), int(seed)), int(program)
            yield key, number, result

    def spent(self) -> list[tuple[str, float, float]]:
        """(phase, seconds of training, of compiling) of each phase."""
        return self._rows("SELECT phase, total(seconds), total(compiling) FROM runs GROUP BY phase ORDER BY phase")

    def finish(self, look: int, seeds: Sequence[int], seconds: Mapping[str, float]) -> None:
        """Close a look; of several processes the first one's times stand."""
        with self._transaction() as db:
            values = (look, json.dumps(list(seeds)), json.dumps(dict(seconds)))
            db.execute("INSERT OR IGNORE INTO looks VALUES (?, ?, ?)", values)

    def looks(self) -> list[tuple[int, list[int], dict[str, float]]]:
        """(number, seed blocks, seconds) of the looks taken, in order."""
        rows = self._rows("SELECT number, seeds, seconds FROM looks ORDER BY number")
        with self._guarded():
            return [(int(n), json.loads(seeds), json.loads(seconds)) for n, seeds, seconds in rows]


def _packed(run: int, arrays: Mapping[str, Array]) -> list[tuple[Any, ...]]:
    return [(run, name, *packed(values)) for name, values in arrays.items()]
