"""Blocks of alternating variants, ratios inside a block, and the machine's own peak."""

from __future__ import annotations

import os
import platform
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch


@dataclass
class Variant:
    """One way to train a case. ``start()`` gives what does ``epochs`` of it when called with their number."""

    name: str
    start: Callable[[], Callable[[int], None]]
    runs: int = 1
    precision: str = "float32"
    note: Callable[[], str] = str


@dataclass
class Timed:
    """A variant measured: seconds to its first epoch's end (building and compiling with it), seconds a run-step."""

    variant: Variant
    run: Callable[[int], None]
    first: float
    epochs: int = 1  # of a block
    seconds: list[float] = field(default_factory=list)  # per run-step, by block
    computed: list[float] = field(default_factory=list)  # the same of the process's CPU time, all threads


def synchronize() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def clocked(run: Callable[[int], None], epochs: int) -> float:
    synchronize()
    began = time.perf_counter()
    run(epochs)
    synchronize()
    return time.perf_counter() - began


def alternate(
    variants: Sequence[Variant], steps: int, blocks: int, seconds: float, save: Callable[[dict[str, Any]], None]
) -> None:
    """Every variant in every block, in an order that turns; ``steps`` of an epoch. The first variant is the anchor.
    ``save`` gets the result after each block."""
    timed, failed = [], {}
    for v in variants:
        print(f"  {v.name}", end="", file=sys.stderr, flush=True)
        since = time.perf_counter()
        try:
            began = time.perf_counter()
            run = v.start()
            run(1)
            synchronize()
            t = Timed(v, run, time.perf_counter() - began)
            t.epochs = max(1, round(seconds / max(clocked(run, 1), 1e-9)))
            clocked(run, max(1, t.epochs // 2))
            timed.append(t)
        except Exception as e:
            failed[v.name] = f"{type(e).__name__}: {(str(e).strip().splitlines() or [''])[0][:200]}"
        print(f": {failed.get(v.name) or f'{time.perf_counter() - since:.0f} s'}", file=sys.stderr, flush=True)
    for b in range(blocks):
        for i in range(len(timed)):
            t = timed[(i + b) % len(timed)]
            done, cpu = t.epochs * steps * t.variant.runs, time.process_time()
            t.seconds.append(clocked(t.run, t.epochs) / done)
            t.computed.append((time.process_time() - cpu) / done)
        save({"rows": [_row(t, timed[0]) for t in timed], "not measured": failed})


def _row(t: Timed, anchor: Timed) -> dict[str, Any]:
    ratios = sorted(a / s for a, s in zip(anchor.seconds, t.seconds, strict=True))
    computed = statistics.median(t.computed)
    return {
        "name": t.variant.name,
        "runs": t.variant.runs,
        "precision": t.variant.precision,
        "microseconds": statistics.median(t.seconds) * 1e6,
        "ratio": statistics.median(ratios),
        "ratio low": ratios[0],
        "ratio high": ratios[-1],
        "CPU microseconds": computed * 1e6,
        "CPU ratio": statistics.median(anchor.computed) / max(computed, 1e-12),
        "first epoch seconds": t.first,
        "note": t.variant.note(),
    }


def times(functions: dict[str, Callable[[], Any]], blocks: int, seconds: float) -> dict[str, list[float]]:
    """Seconds a call of each function, by block, alternating: the median of the calls of a block.

    On one CPU thread: seconds that this thread computed, so that other work on the machine counts little.
    """
    alone = not torch.cuda.is_available() and torch.get_num_threads() == 1
    clock = time.thread_time if alone else time.perf_counter

    def call(f: Callable[[], Any]) -> float:
        synchronize()
        began = clock()
        f()
        synchronize()
        return clock() - began

    calls, out = {}, {name: [] for name in functions}
    for name, f in functions.items():
        f()
        f()
        calls[name] = min(max(3, round(seconds / max(call(f), 1e-9))), 10_000)
    for _ in range(blocks):
        for name, f in functions.items():
            out[name].append(statistics.median(call(f) for _ in range(calls[name])))
    return out


def against(taken: dict[str, list[float]], anchor: str) -> dict[str, dict[str, float]]:
    """Median milliseconds, and how many times faster than ``anchor`` with the smallest and largest block."""
    out = {}
    for name, seconds in taken.items():
        ratios = sorted(a / s for a, s in zip(taken[anchor], seconds, strict=True))
        ratio = {"ratio": statistics.median(ratios), "ratio low": ratios[0], "ratio high": ratios[-1]}
        out[name] = {"milliseconds": statistics.median(seconds) * 1e3, **ratio}
    return out


def peak(threads: int, dtype: torch.dtype) -> float:
    """Multiplications and additions a second of the fastest square matrix product."""
    torch.set_num_threads(threads)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    best = 0.0
    for n in (512, 1024, 2048) if device == "cpu" else (4096, 8192):
        a = torch.randn(n, n, device=device).to(dtype)
        one = lambda _, a=a: (a @ a, None)[1]  # noqa: E731
        clocked(one, 1)
        best = max(best, *(2 * n**3 / clocked(one, 1) for _ in range(9)))
    return best


def machine() -> dict[str, Any]:
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else float("nan")
    name = torch.cuda.get_device_name() if torch.cuda.is_available() else _processor()
    return {"device": name, "cores": os.cpu_count(), "torch": str(torch.__version__), "load": round(load, 2)}


def _processor() -> str:
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as f:
            return next(line.split(":", 1)[1].strip() for line in f if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor()
