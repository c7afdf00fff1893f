"""Running a library's own training loop epoch by epoch: it is held at the end of every epoch, in the same thread.

Not in a thread of its own: OpenMP keeps a team of threads for every thread that calls it, and where the teams together
are larger than the machine, each waits asleep instead of actively, which doubles the time of every variant.
"""

from __future__ import annotations

import traceback
from collections.abc import Callable

import torch
from greenlet import getcurrent, greenlet

FOREVER = 1_000_000  # epochs


class Gate:
    """``train(tick)`` trains without end and calls ``tick`` after every epoch; `run` lets it do some epochs."""

    def __init__(self, train: Callable[[Callable[[], None]], None], threads: int) -> None:
        self._train, self._threads = train, threads
        self._left, self._failed = 0, ""
        self.body = greenlet(self._body)

    def _body(self) -> None:
        try:
            self._train(self._tick)
            self._failed = "its training ended"
        except BaseException as e:  # reported by `run`
            last = traceback.extract_tb(e.__traceback__)[-1]
            self._failed = f"{type(e).__name__}: {str(e).splitlines()[0] if str(e) else ''} ({last.name}:{last.lineno})"

    def _tick(self) -> None:
        self._left -= 1
        if self._left == 0:
            self._outside.switch()

    def run(self, epochs: int) -> None:
        if self._failed:
            raise RuntimeError(self._failed)
        self._left, self._outside = epochs, getcurrent()
        torch.set_num_threads(self._threads)
        self.body.switch()
        if self._failed:
            raise RuntimeError(self._failed)
