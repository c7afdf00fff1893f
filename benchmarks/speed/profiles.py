"""Where the time of a step goes: `PYTHONPATH=src python benchmarks/speed/profiles.py c bare|eager|compiled`.

CPU time of one thread by operator, so that other work on the machine counts little; what is left of the whole step is
Python, autograd and the dispatcher, and of a compiled loop its kernels.
"""

from __future__ import annotations

import argparse
import cProfile
import pstats
import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import ours
import torch
from bare import bare
from cases import CASES, Case
from torch.utils._python_dispatch import TorchDispatchMode

from equipoise.cohort import Cohort
from equipoise.feed import Schedule
from equipoise.plan import Member, Options, group
from equipoise.programs import make_program
from equipoise.recipe import resolve


class Seconds(TorchDispatchMode):
    """CPU seconds and calls of every operator."""

    def __init__(self) -> None:
        super().__init__()
        self.spent: dict[str, list[float]] = defaultdict(lambda: [0.0, 0])

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        began = time.thread_time()
        out = func(*args, **(kwargs or {}))
        entry = self.spent[str(func).removeprefix("aten.")]
        entry[0] += time.thread_time() - began
        entry[1] += 1
        return out


def epochs_of(case: Case, compile: str) -> Callable[[int], None]:
    """Epochs of one Equipoise run on this thread, where a profiler can see them."""
    data, options = ours.data(case.name), Options(compile=compile, threads=1)
    member = Member(resolve(ours.recipe(case), data.task), 0)
    [(shared, _)] = group([member])
    program = make_program(lambda: case.build(False), shared, member, data, options)
    cohort = Cohort(program, [member], data, Schedule(1000, case.batch))
    cohort.compile(options)

    def run(epochs: int) -> None:
        for _ in range(epochs):
            cohort.train_epoch()

    return run


def main() -> None:
    p = argparse.ArgumentParser(description=__doc__)
    p.add_argument("case", choices=CASES)
    p.add_argument("what", choices=("bare", "eager", "compiled"))
    p.add_argument("--top", type=int, default=12)
    p.add_argument("--python", action="store_true", help="Python functions (cProfile) beside the operators")
    a = p.parse_args()
    case = replace(CASES[a.case], batches=64 if a.case == "c" else 8, threads=1)
    CASES[a.case] = case
    torch.set_num_threads(1)
    mode = {"eager": "never", "compiled": "always"}
    run = bare(case).start() if a.what == "bare" else epochs_of(case, mode[a.what])
    run(2)
    steps, whole = case.batches, []
    for _ in range(5):
        began = time.thread_time()
        run(1)
        whole.append((time.thread_time() - began) / steps * 1e6)
    with Seconds() as seen:
        run(1)
    spent = sorted(seen.spent.items(), key=lambda e: -e[1][0])
    total = min(whole)
    inside = sum(seconds for _, (seconds, _) in spent) / steps * 1e6
    print(f"({a.case}) {a.what}: {total:,.0f} µs a step, {inside:,.0f} of them in operators")
    for name, (seconds, calls) in spent[: a.top]:
        one = seconds / steps * 1e6
        print(f"  {one:9.1f} µs {100 * one / total:5.1f} %  {calls / steps:6.1f} calls  {name}")
    if a.python:
        with cProfile.Profile() as python:
            run(1)
        pstats.Stats(python).sort_stats("tottime").print_stats(a.top)


if __name__ == "__main__":
    main()
