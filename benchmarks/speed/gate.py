"""Running a library's own training loop epoch by epoch: it trains in a thread and waits at the end of every epoch."""

from __future__ import annotations

import threading
import traceback
from collections.abc import Callable

import torch

FOREVER = 1_000_000  # epochs


class Gate:
    """``train(tick)`` trains without end and calls ``tick`` after every epoch; `run` lets it do some epochs.

    The thread sets its own number of threads (torch counts them by calling thread). A daemon: it ends with the process.
    """

    def __init__(self, train: Callable[[Callable[[], None]], None], threads: int) -> None:
        self._train, self._threads = train, threads
        self._go, self._done = threading.Semaphore(0), threading.Semaphore(0)
        self._left, self._failed = 0, ""
        self.thread = threading.Thread(target=self._body, daemon=True)

    def _body(self) -> None:
        self._go.acquire()
        torch.set_num_threads(self._threads)
        try:
            self._train(self._tick)
            self._failed = "its training ended"
        except BaseException as e:  # reported by `run`, on the measuring thread
            last = traceback.extract_tb(e.__traceback__)[-1]
            self._failed = f"{type(e).__name__}: {str(e).splitlines()[0] if str(e) else ''} ({last.name}:{last.lineno})"
        self._done.release()

    def _tick(self) -> None:
        self._left -= 1
        if self._left == 0:
            self._done.release()
            self._go.acquire()

    def run(self, epochs: int) -> None:
        if self._failed:
            raise RuntimeError(self._failed)
        self._left = epochs
        if not self.thread.is_alive():
            self.thread.start()
        self._go.release()
        self._done.acquire()
        if self._failed:
            raise RuntimeError(self._failed)
