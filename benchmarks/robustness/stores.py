"""Cases on the store of a finished study: its bytes damaged, or values in its tables changed by SQL."""

from __future__ import annotations

import atexit
import shutil
import sqlite3
import sys
import tempfile
from functools import cache
from pathlib import Path
from typing import Any

import strategies as S
from harness import attempt, folder
from hypothesis import strategies as st

from equipoise.study import load_study

NAME = "study.sqlite"


@cache
def finished() -> Path:
    """A folder with the store of a small finished study, and nothing else."""
    sys.path.insert(0, str(Path(__file__).parents[2]))
    from tests.study.small import small

    path = Path(tempfile.mkdtemp(prefix="fuzz-study-"))
    atexit.register(shutil.rmtree, path, True)
    small(out=path / "study", epochs=1)
    (path / "store").mkdir()
    with sqlite3.connect(path / "study" / NAME) as db, sqlite3.connect(path / "store" / NAME) as whole:
        db.backup(whole)
    return path / "store"


@st.composite
def store_case(draw: Any) -> bytes | tuple[str, str, int, Any]:
    """The damaged bytes of the store; or (table, column, row, value) to put into it."""
    if draw(st.integers(0, 2)) == 0:
        return draw(S.spliced((finished() / NAME).read_bytes()))
    with sqlite3.connect(finished() / NAME) as db:
        tables = sorted(r[0] for r in db.execute("SELECT name FROM sqlite_master WHERE type = 'table'"))
        table = draw(st.sampled_from(tables))
        column = draw(st.sampled_from([r[1] for r in db.execute(f"PRAGMA table_info({table})")]))
        rows = [r[0] for r in db.execute(f"SELECT rowid FROM {table}")] or [0]
    value = st.none() | st.integers(-(2**60), 2**60) | st.floats() | S.junk_text | st.binary(max_size=9)
    return table, column, draw(st.sampled_from(rows)), draw(value | st.sampled_from(["[]", "{}", "null", "[[1]]", "1"]))


def read_store(case: bytes | tuple[str, str, int, Any]) -> str:
    with folder() as path:
        shutil.copytree(finished(), path / "study")
        if isinstance(case, bytes):
            (path / "study" / NAME).write_bytes(case)
        else:
            table, column, row, value = case
            db = sqlite3.connect(path / "study" / NAME)
            try:
                db.execute(f"UPDATE {table} SET {column} = ? WHERE rowid = ?", (value, row))
                db.commit()
            except (sqlite3.Error, UnicodeError):  # the file's own rules refuse it
                pass
            finally:
                db.close()
        return attempt(lambda: load_study(path / "study").to_dict())
