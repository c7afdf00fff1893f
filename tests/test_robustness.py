"""A slice of the fuzz bench: what it finds, and that it would find what it looks for."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from equipoise.errors import EquipoiseError

BENCH = Path(__file__).parents[1] / "benchmarks" / "robustness"


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The modules of the bench."""
    monkeypatch.syspath_prepend(str(BENCH))
    import fuzz
    import harness

    return fuzz, harness


def test_generated_input_trains_or_ends_in_one_line() -> None:
    command = [sys.executable, BENCH / "fuzz.py", "--seconds", "35"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    rows = [line.split("|") for line in done.stdout.splitlines() if line.startswith("| ")][1:]
    assert len(rows) == 12 and all(int(r[2]) > 0 for r in rows), done.stdout


FOUND = [  # cases that broke a promise once, as hypothesis shrank them
    ("knobs", ([("DropConnect", {"where": 0})], 0, 16)),
    *(("networks", (plan, 1, [], False)) for plan in (("scalar",), ("fewer rows",), ("whole",), ("no gradient",))),
    ("networks", (("all frozen",), 1, [], False)),
    ("networks", (("in place", "in place"), 1, [], False)),
    ("prediction inputs", ("in.csv", b"t,a")),
    ("prediction inputs", ("in.npz", b"")),
    ("prediction inputs", ("in.npz", b"PK\x03\x04\x00")),
    ("run folders", ("run", "state.safetensors", b"\x02\0\0\0\0\0\0\0{}")),
    ("study stores", ("arrays", "run", 1, 1)),
    ("study stores", ("workers", "notes", 1, 0)),
    ("study stores", ("facts", "name", 2, None)),
]


@pytest.mark.usefixtures("bench")
@pytest.mark.parametrize(("family", "case"), FOUND, ids=lambda v: v if isinstance(v, str) else "")
def test_what_was_found_stays_mended(family: str, case: Any) -> None:
    from families import FAMILIES

    assert FAMILIES[family].run(case) in ("done", "refused")


def test_a_broken_promise_is_found(bench: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    _, harness = bench

    def raising(e: BaseException) -> Any:
        def call(*_: Any) -> None:
            raise e

        return call

    assert harness.attempt(lambda: None) == "done" and harness.attempt(raising(EquipoiseError("so"))) == "refused"
    with pytest.raises(harness.Broken, match="not one line"):
        harness.attempt(raising(EquipoiseError("two\nlines")))
    with pytest.raises(KeyError):
        harness.attempt(raising(KeyError("x")))
    monkeypatch.setattr(harness, "PATIENCE", 1)
    with pytest.raises(harness.Broken, match="did not end"):
        harness.attempt(lambda: __import__("time").sleep(5))
    with pytest.raises(harness.Broken, match="temporary files"), harness.folder() as path:
        (path / ".weights.safetensors.1f.tmp").touch()
    for code, text in ((2, "equipoise: a\nequipoise: b\n"), (1, "equipoise: a\n"), (2, "")):

        def main(_: Any, code: int = code, text: str = text) -> None:
            sys.stderr.write(text)
            sys.exit(code)

        monkeypatch.setattr(harness, "main", main)
        with pytest.raises(harness.Broken, match="exit code"):
            harness.command("train")
    (tmp_path / "run.json").write_text("{}")
    with pytest.raises(harness.Broken, match="refused, but"):
        harness.trained_or_absent(tmp_path, "refused")
    (tmp_path / "run.json").write_text("NaN")
    with pytest.raises(harness.Broken, match="holds NaN"):
        harness.trained_or_absent(tmp_path, "done")


def test_a_failing_case_is_shrunk_and_counted(bench: Any) -> None:
    fuzz, _ = bench
    from hypothesis import strategies as st

    def run(n: int) -> str:
        if n >= 1000:
            raise ValueError("too large")
        return "done"

    ended, failure = fuzz.block("numbers", fuzz.Family(st.integers(0, 10**6), run, 1.0), 3, 200)
    assert failure.case == "1000" and "ValueError" in failure.error and failure.seed == 3
    assert ended["done"] < 200 and fuzz.block("numbers", fuzz.Family(st.integers(0, 9), run, 1.0), 3, 10)[1] is None
