"""Is the cost linear in rows, runs and techniques; what memory does a cohort take; how fast does the command start?"""

from __future__ import annotations

import dataclasses
import json
import os
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

HERE = Path(__file__).parent


def epoch_seconds(run: Callable[[int], None], blocks: int) -> float:
    """CPU seconds of an epoch on one thread, the least of some."""
    run(1)
    taken = []
    for _ in range(min(blocks, 4)):
        began = time.process_time()
        run(1)
        taken.append(time.process_time() - began)
    return min(taken)


def shorter(name: str, batches: int) -> None:
    """The case with shorter epochs, for this process."""
    import cases

    cases.CASES[name] = dataclasses.replace(cases.CASES[name], batches=batches)


def slope(sizes: Sequence[int], seconds: Sequence[float]) -> dict[str, Any]:
    """Least squares of seconds = fixed + each · size, and of log seconds on log size (1: proportional)."""
    each, fixed = np.polyfit(sizes, seconds, 1)
    power = np.polyfit(np.log(sizes), np.log(seconds), 1)[0] if min(sizes) > 0 else None
    left = np.asarray(seconds) - (fixed + each * np.asarray(sizes))
    return {
        "sizes": list(sizes), "milliseconds": [1e3 * s for s in seconds], "each": 1e3 * each, "fixed": 1e3 * fixed,
        "power": power, "largest deviation": float(np.abs(left / np.asarray(seconds)).max()),
    }  # fmt: skip


def by_rows(blocks: int) -> dict[str, Any]:
    import cases
    import ours

    taken, sizes = [], (40, 80, 160, 320)
    for n in sizes:
        case = dataclasses.replace(cases.CASES["c"], name=f"c{n}", batches=n)
        cases.CASES[case.name] = case
        gate = ours.trained(case, [[ours.Empty("inputs"), ours.T.AdamW()]], {"compile": "never", "threads": 1})
        taken.append(epoch_seconds(gate.run, blocks))
    return slope([n * cases.CASES["c"].batch for n in sizes], taken)


def by_runs(blocks: int, compile: str) -> dict[str, Any]:
    import ours
    from cases import CASES

    taken, sizes = [], (4, 8, 16, 32, 64)
    for n in sizes:
        gate = ours.trained(
            CASES["c"], [ours.machinery(CASES["c"], i) for i in range(n)], {"compile": compile, "threads": 1}
        )
        taken.append(epoch_seconds(gate.run, blocks))
    return slope(sizes, taken)


def by_techniques(blocks: int) -> dict[str, Any]:
    import ours
    from cases import CASES

    T = ours.T
    more = [T.L2(1e-4), T.ClipGradients(5.0, by="norm"), T.Dropout(0.2), T.MixUp(0.2), T.EMA(), T.LabelSmoothing(0.1)]
    taken = []
    for n in range(len(more) + 1):
        recipe = [*ours.recipe(CASES["c"]), *more[:n]]
        taken.append(epoch_seconds(ours.trained(CASES["c"], [recipe], {"compile": "never", "threads": 1}).run, blocks))
    return {"techniques": [type(t).__name__ for t in more], **slope(range(len(more) + 1), taken)}


def memory(runs: int) -> float:
    """Bytes that training so many runs of (a) adds to a process that holds the data and has trained a small run."""
    found = subprocess.run(
        [sys.executable, __file__, "memory", str(runs)], capture_output=True, text=True, check=True, env=os.environ
    )
    return json.loads(found.stdout.splitlines()[-1])


def _memory(runs: int) -> None:
    import ours
    from cases import CASES

    torch.set_num_threads(1)
    shorter("c", 8)
    shorter("a", 8)
    ours.trained(CASES["c"], [ours.recipe(CASES["c"])], {"compile": "never", "threads": 1}).run(1)
    ours.data("a")
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    case = CASES["a"]
    ours.trained(case, [ours.machinery(case, i) for i in range(runs)], {"compile": "never", "threads": 1}).run(1)
    print(json.dumps((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024), flush=True)
    os._exit(0)


def started(*command: str, times: int = 5) -> float:
    taken = []
    for _ in range(times):
        began = time.perf_counter()
        subprocess.run([sys.executable, *command], capture_output=True, check=True, env=os.environ)
        taken.append(time.perf_counter() - began)
    return statistics.median(taken)


def starting() -> dict[str, float]:
    main = "import sys; sys.argv = ['equipoise', '--help']; from equipoise.cli import main; main()"
    commands = {"python": "pass", "equipoise --help": main}
    commands |= {m: m for m in ("import equipoise", "import torch")}
    return {name: started("-c", code) for name, code in commands.items()}


def measure(blocks: int, seconds: float) -> dict[str, Any]:
    torch.set_num_threads(1)
    one, eight = memory(1), memory(8)
    shorter("c", 64)
    return {
        "start": starting(),
        "memory": {"one": one, "eight": eight, "share of the sum": eight / (8 * one)},
        "rows": by_rows(blocks),
        "runs, eager": by_runs(blocks, "never"),
        "techniques": by_techniques(blocks),
    }


if __name__ == "__main__":
    _memory(int(sys.argv[2]))
