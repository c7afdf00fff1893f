"""The fuzz bench would find what it looks for."""

from __future__ import annotations

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
