"""Where the time of a step goes: `PYTHONPATH=src python benchmarks/speed/profiles.py c bare|eager|compiled`.

Shares of CPU time by operator; what a compiled loop does outside of operators (its fused kernels) is the rest.
"""

from __future__ import annotations

import argparse
import cProfile
import pstats
from collections.abc import Callable

import ours
import torch
from bare import bare
from cases import CASES, Case
from torch.profiler import ProfilerActivity, profile

from equipoise.cohort import Cohort
from equipoise.feed import Schedule
from equipoise.plan import Member, Options, group
from equipoise.programs import make_program
from equipoise.recipe import resolve


def epochs_of(case: Case, compile: str) -> Callable[[int], None]:
    """Epochs of one Equipoise run on this thread, where the profilers can see them."""
    data, options = ours.data(case.name), Options(compile=compile, threads=case.threads)
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
    case = CASES[a.case]
    torch.set_num_threads(1)
    mode = {"eager": "never", "compiled": "always"}
    run = bare(case).start() if a.what == "bare" else epochs_of(case, mode[a.what])
    run(1)
    torch.set_num_threads(1)
    with profile(activities=[ProfilerActivity.CPU]) as seen:
        run(1)
    events = sorted(seen.key_averages(), key=lambda e: -e.self_cpu_time_total)
    total = sum(e.self_cpu_time_total for e in events)
    print(f"({a.case}) {a.what}: {total / case.batches:,.0f} µs of operators a step, one thread, profiled")
    for e in events[: a.top]:
        share, count = 100 * e.self_cpu_time_total / total, e.count / case.batches
        print(f"{share:5.1f} %  {e.self_cpu_time_total / case.batches:9.1f} µs  {count:6.1f} calls  {e.key[:60]}")
    if a.python:
        with cProfile.Profile() as python:
            run(1)
        pstats.Stats(python).sort_stats("tottime").print_stats(a.top)


if __name__ == "__main__":
    main()
