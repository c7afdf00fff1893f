"""How a cohort is executed: stacked or one by one, compiled or eager, in which parts, on how many threads.

All of it is decided before step 1 by fixed rules on sizes, never by a clock, so that the bits do not depend on timing.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import torch

from . import tree
from .compiling import can_compile, repays
from .executor import Single, Stack, vmap_refuses
from .native import flushed
from .plan import Options
from .step import Const, Now, Program, State

if TYPE_CHECKING:
    from .cohort import Cohort

CACHE = 2 << 20  # bytes of state that runs trained by one call may have together: they stay in a core's cache
PART = 8  # runs of one call, at most
RECORDED = 20  # uses that repay recording the step of an epoch's last, smaller batch
BESIDE = 3.0  # seconds that a second library takes, made beside the first
SMALL = 2e7  # floating-point operations of a step below which a second thread costs more than it gives


def executor_for(cohort: Cohort, states: list[State], consts: list[Const]) -> tuple[Stack | Single, str]:
    """The executor of a cohort that is being made, and why not the other one."""
    program, runs = cohort.program, len(cohort.members)
    if runs == 1:
        return Single(program), ""
    why = _stays_single(cohort, states[0])
    stacked = any(k[0] == Stack.kind for k in program.compiled)  # then it has been tried
    if not why and not stacked:
        now = next(cohort.feed.steps(0, [1.0] * runs))
        mine = {f: tree.head(getattr(now, f), 2) for f in Now._fields if f not in ("t", "epoch", "steps", "row0")}
        why = vmap_refuses(program, states[:2], consts[:2], now._replace(**mine))
    return (Single if why else Stack)(program), why


def _stays_single(cohort: Cohort, state: State) -> str:
    """Why stacking would not pay on this device, or an empty string."""
    if cohort.program.device.type != "cpu":
        return ""
    if any(s.kind == "conv" for s in cohort.program.net.sites):
        return "convolutions gain nothing from stacking on a CPU: one by one"
    if tree.size(state) > CACHE:
        return "runs of this size gain nothing from stacking on a CPU: one by one"
    return ""


def compile_step(cohort: Cohort, options: Options, cohorts: int, part: int) -> float:
    """Compile a cohort's step where the options ask for it, or where ``cohorts`` like this one repay it; seconds spent.
    ``part``: the stored plan's (0: chosen here)."""
    program, began = cohort.program, time.perf_counter()
    if not _wanted(cohort, options, cohorts) or program.net.random_elsewhere or program.net.recurrent:
        return 0.0
    if not can_compile(program.device):
        cohort.why = "no compiler was found: eager"
        return 0.0
    threads, uses = torch.get_num_threads(), cohort.schedule.epochs * cohorts
    block = next(cohort.feed.blocks(0, [1.0] * len(cohort.members))).block
    last = cohort.feed.last if uses >= RECORDED else None
    looped = last is not None and program.device.type == "cpu" and repays(uses, _elements(cohort), BESIDE)
    sizes = part or _part(cohort, threads), _threads(cohort, threads)
    try:
        cohort.executor.compile(cohort.state, cohort.const, block, *sizes, last if looped else None)
        if last is not None and not looped:
            cohort.executor.record(cohort.state, cohort.const, last)
        cohort.compiled = True
    except Exception as e:  # whatever the compiler cannot do, the eager step can
        cohort.executor = type(cohort.executor)(program)
        cohort.why = f"it could not be compiled ({(str(e).strip().splitlines() or [''])[0][:120]}): eager"
    return time.perf_counter() - began


def _wanted(cohort: Cohort, options: Options, cohorts: int) -> bool:
    if cohort.pieces.runs or cohort.pieces.rows or options.compile == "never":
        return False
    made = any(k[0] == cohort.executor.kind for k in cohort.program.compiled)
    return options.compile == "always" or made or repays(cohort.total_steps * cohorts, _elements(cohort))


def _elements(cohort: Cohort) -> int:
    return sum(v.numel() for v in cohort.program.net.module.parameters()) * len(cohort.members)


def part_of(program: Program, runs: int, threads: int) -> int:
    """Runs of one call of compiled code for a stack of ``runs``: as many as stay in cache, a share for every thread,
    all parts of one size."""
    if program.device.type != "cpu":
        return runs
    state = 12 * sum(v.numel() for v in program.net.module.parameters())  # weights and two moments, in float32
    most = max(1, min(PART, CACHE // max(state, 1), -(-runs // threads)))
    return -(-runs // -(-runs // most))


def _part(cohort: Cohort, threads: int) -> int:
    """The same for this cohort; the size of code that exists already, where little of it would stay idle."""
    runs, program = len(cohort.members), cohort.program
    if isinstance(cohort.executor, Single):
        return 1
    waste = {k[1]: -runs % k[1] for k in program.compiled if k[0] == "stacked"}
    fitting = [n for n, idle in waste.items() if idle <= runs // 3]
    return min(fitting, key=waste.__getitem__) if fitting else part_of(program, runs, threads)


@contextmanager
def apart_from_others(cohort: Cohort) -> Iterator[None]:
    """For small runs: one thread for plain operators, numbers too small for a whole mantissa count as zero.

    Their compiled parts have threads of their own. A second thread inside of an operator gains little, and waits
    actively: beside another process, steps took ten times as long on two. For numbers, see `native.Native`.
    """
    threads, small = torch.get_num_threads(), _is_small(cohort)
    if small:
        torch.set_num_threads(1)
    try:
        with flushed(small):
            yield
    finally:
        torch.set_num_threads(threads)  # after our own threads had one: threads to come take what was set last


def _threads(cohort: Cohort, threads: int) -> int:
    """A single run of small steps is faster on one thread."""
    return 1 if len(cohort.members) == 1 and _is_small(cohort) else threads


def _is_small(cohort: Cohort) -> bool:
    work = 6.0 * cohort.schedule.batch_size * sum(s.work for s in cohort.program.net.sites)
    return cohort.program.device.type == "cpu" and work < SMALL
