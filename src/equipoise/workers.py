"""Threads beside the one that trains. Operators called on them have one thread each."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import torch

from .native import flushes


class Workers:
    """Calls f on every number of a range, on threads of one intra-op thread each; on one worker inline."""

    def __init__(self, workers: int) -> None:
        self._pool = (
            ThreadPoolExecutor(workers, initializer=torch.set_num_threads, initargs=(1,)) if workers > 1 else None
        )

    def __enter__(self) -> Callable[[Callable[[int], Any], range], list[Any]]:
        pool = self._pool
        return lambda f, of: list(pool.map(f, of)) if pool else [f(j) for j in of]

    def __exit__(self, *_: object) -> None:
        if self._pool:
            self._pool.shutdown()


def thread_alike() -> ThreadPoolExecutor:
    """A thread whose operators have one thread, and take numbers too small for a whole mantissa as the caller's do."""
    flush = flushes()

    def begin() -> None:
        torch.set_num_threads(1)
        torch.set_flush_denormal(flush)

    return ThreadPoolExecutor(1, initializer=begin)
