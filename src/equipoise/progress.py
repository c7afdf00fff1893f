"""A progress bar on standard error where that is a terminal; silence elsewhere."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


class Tracker:
    """Counts run-epochs. The silent one."""

    def total(self, n: int) -> None:
        """So many run-epochs are to come, in all."""

    def advance(self, n: int, epoch: int, epochs: int) -> None:
        """``n`` run-epochs are done; the cohort is at ``epoch`` of ``epochs``."""


class Bar(Tracker):
    """A rich progress bar."""

    def __init__(self, progress: Any, text: str) -> None:
        self._progress, self._task = progress, progress.add_task(text, total=None)

    def total(self, n: int) -> None:
        self._progress.update(self._task, total=n)

    def advance(self, n: int, epoch: int, epochs: int) -> None:
        self._progress.update(self._task, advance=n)


@contextmanager
def tracker(wanted: bool | None, given: Tracker | None = None, text: str = "training") -> Iterator[Tracker]:
    """``given`` where there is one; a bar where ``wanted``, or where it is None and standard error is a terminal."""
    if given is not None:
        yield given
    elif wanted or (wanted is None and sys.stderr.isatty()):
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.percentage:>3.0f}%"),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
        )
        with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
            yield Bar(progress, text)
    else:
        yield Tracker()
