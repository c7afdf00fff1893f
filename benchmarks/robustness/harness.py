"""What every case must keep: it ends in time, in a result or in one line, and leaves no half of a file."""

from __future__ import annotations

import contextlib
import io
import json
import shutil
import signal
import tempfile
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from equipoise.cli import main
from equipoise.errors import EquipoiseError
from equipoise.plan import Options

OPTIONS = Options(compile="never", progress=False)
SMALL = ("--epochs", "1", "--compile", "never", "--quiet", "--model", "mlp(hidden=(2,))")
PATIENCE = 90  # seconds after which a case hangs
TEMPORARY = (".*.tmp", ".tmp??????")


class Broken(AssertionError):
    """A promise was broken."""


@contextlib.contextmanager
def in_time() -> Iterator[None]:
    def late(*_: Any) -> None:
        raise Broken(f"it did not end within {PATIENCE} s")

    before = signal.signal(signal.SIGALRM, late)
    signal.alarm(PATIENCE)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


@contextlib.contextmanager
def folder() -> Iterator[Path]:
    """A folder of its own, in which no temporary file is left."""
    path = Path(tempfile.mkdtemp(prefix="fuzz-"))
    try:
        yield path
        left = [p.name for pattern in TEMPORARY for p in path.rglob(pattern)]
        if left:
            raise Broken(f"temporary files are left: {left}")
    finally:
        shutil.rmtree(path, ignore_errors=True)


def attempt(call: Callable[[], Any]) -> str:
    """ "done", or "refused" with an error of ours that is one line; everything else is raised."""
    with in_time(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            call()
        except EquipoiseError as e:
            if not str(e).strip() or "\n" in str(e):
                raise Broken(f"the error is not one line: {str(e)!r}") from e
            return "refused"
    return "done"


def command(*arguments: str) -> str:
    """A command, in this process: exit code 0, or 2 and one line on standard error."""
    out, err = io.StringIO(), io.StringIO()
    code: Any = 0
    with in_time(), contextlib.redirect_stdout(out), contextlib.redirect_stderr(err), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            main(list(arguments))
        except SystemExit as e:
            code = e.code
    lines = err.getvalue().splitlines()
    if code == 2 and len(lines) == 1 and lines[0].startswith("equipoise: "):
        return "refused"
    if code in (0, None) and "Traceback" not in err.getvalue():
        return "done"
    raise Broken(f"exit code {code}, standard error {err.getvalue()[-500:]!r}")


def trained_or_absent(out: Path, told: str) -> None:
    """A folder of results is whole, or holds no result."""
    finished = out / "run.json"
    if told == "refused" and finished.exists():
        raise Broken(f"refused, but {finished.name} was written")
    if told == "done":
        from safetensors.torch import load_file

        json.loads(finished.read_text(encoding="utf-8"), parse_constant=_no_constant)
        if not load_file(out / "weights.safetensors") or (out / "checkpoint").exists():
            raise Broken("the result is not whole")


def _no_constant(name: str) -> Any:
    raise Broken(f"run.json holds {name}")
