"""The tables of a study's store, and opening it: SQLite in write-ahead mode, each commit flushed to the disk.

``synchronous=FULL`` because NORMAL may lose the last commits to a power cut, and a commit, once per cohort, costs
milliseconds. Write-ahead logs need shared memory, so all processes run on one machine.
"""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

APPLICATION, SCHEMA = 0x65717073, 1  # "eqps", and the version of the tables
PATIENCE = 60.0  # seconds to wait for another process's transaction
TABLES = {
    "facts": "CREATE TABLE facts (name TEXT PRIMARY KEY, value TEXT NOT NULL)",
    "workers": """CREATE TABLE workers (
        id TEXT PRIMARY KEY, process TEXT NOT NULL, beat REAL NOT NULL, seconds REAL NOT NULL, notes TEXT NOT NULL)""",
    "cohorts": """CREATE TABLE cohorts (
        id INTEGER PRIMARY KEY, phase TEXT NOT NULL, program INTEGER NOT NULL, plan TEXT NOT NULL,
        state TEXT NOT NULL CHECK (state IN ('waiting', 'taken', 'done', 'failed')),
        worker TEXT REFERENCES workers (id), error TEXT NOT NULL DEFAULT '')""",
    "runs": """CREATE TABLE runs (
        id INTEGER PRIMARY KEY, cohort INTEGER NOT NULL REFERENCES cohorts (id), phase TEXT NOT NULL,
        arm INTEGER NOT NULL, rate REAL NOT NULL, seed INTEGER NOT NULL, stop REAL, seconds REAL, compiling REAL,
        failed TEXT, capped INTEGER, history TEXT, notes TEXT, UNIQUE (phase, arm, rate, seed))""",
    "arrays": """CREATE TABLE arrays (
        run INTEGER NOT NULL, name TEXT NOT NULL, dtype TEXT NOT NULL, shape TEXT NOT NULL, sha256 TEXT NOT NULL,
        data BLOB NOT NULL, PRIMARY KEY (run, name))""",
    "looks": "CREATE TABLE looks (number INTEGER PRIMARY KEY, seeds TEXT NOT NULL, seconds TEXT NOT NULL)",
}


def create(db: sqlite3.Connection) -> None:
    """All tables; inside of a transaction."""
    for sql in TABLES.values():
        db.execute(sql)
    db.execute(f"PRAGMA application_id = {APPLICATION}")
    db.execute(f"PRAGMA user_version = {SCHEMA}")


def connect(path: Path | None) -> sqlite3.Connection:
    """A checked connection in autocommit mode (transactions are written out); None is in memory.

    Raises sqlite3.Error or OSError where it cannot be opened, ValueError where it is no store of a study.
    """
    if path is None:
        return sqlite3.connect(":memory:", isolation_level=None)
    if path.is_file() and not os.access(path.parent, os.W_OK):  # a copy to read, which nobody writes
        db = sqlite3.connect(f"{path.absolute().as_uri()}?immutable=1", uri=True, isolation_level=None)
        _check(db)
        return db
    db = sqlite3.connect(path, timeout=PATIENCE, isolation_level=None)
    try:
        db.execute("PRAGMA trusted_schema = OFF")
        db.execute("PRAGMA foreign_keys = ON")
        db.execute("PRAGMA synchronous = FULL")
        _check(db)
        _retried(lambda: db.execute("PRAGMA journal_mode = WAL"))
    except BaseException:
        db.close()
        raise
    return db


def _retried(call: Callable[[], Any]) -> None:
    """Changing the journal does not wait for other processes by itself."""
    until = time.monotonic() + PATIENCE
    while True:
        try:
            call()
            return
        except sqlite3.OperationalError as e:
            if "locked" not in str(e) or time.monotonic() > until:
                raise
            time.sleep(0.05)


def _check(db: sqlite3.Connection) -> None:
    """Only our own tables: a trigger or a view of a stranger's file would run on our statements."""
    found = dict(db.execute("SELECT name, sql FROM sqlite_master WHERE sql IS NOT NULL").fetchall())
    if not found:
        return
    version = db.execute("PRAGMA user_version").fetchone()[0]
    if db.execute("PRAGMA application_id").fetchone()[0] != APPLICATION:
        raise ValueError("it is no store of a study")
    if version != SCHEMA:
        raise ValueError(f"it has schema {version}, and this version of equipoise reads {SCHEMA}")
    if found != TABLES:
        raise ValueError("its tables are not those of a study")
