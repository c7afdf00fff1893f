"""Training that fits in memory: what a step needs is measured beforehand, a cohort splits itself, and where memory runs
out all the same, the step is done again in smaller pieces. First fewer runs at once, then fewer rows of a batch.

A step writes nothing in place, so one that failed can be repeated. Runs in pieces agree with the whole as cohorts of
other sizes do, to float tolerance; gradients of row pieces add up to the whole batch's (`gradients.in_parts`).
"""

from __future__ import annotations

import os
import weakref
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from .errors import EquipoiseError
from .executor import Single, Stack
from .feed import Fed
from .gradients import by_autograd, in_parts
from .sites.adopt import BATCH_NORMS
from .step import Now, Program, at_step

if TYPE_CHECKING:
    from .cohort import Cohort

SHARE = 0.5  # of the free memory that a step may take
PEAK = 1.5  # what a backward pass holds at most, by what its forward pass saved
MEMINFO = Path("/proc/meminfo")
CGROUPS = (  # (limit, use) of the container, in both versions
    (Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory.current")),
    (Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"), Path("/sys/fs/cgroup/memory/memory.usage_in_bytes")),
)


class Pieces(NamedTuple):
    """What is trained at once; 0 is all."""

    runs: int = 0
    rows: int = 0


class Need(NamedTuple):
    """Bytes of one run: its state, a step without rows, and what each row of the batch adds to the step."""

    state: int
    step: float
    row: float

    def of_step(self, rows: int) -> float:
        return self.step + self.row * rows


# --- what there is, and what is needed --------------------------------------------------------------------------------
def available(device: torch.device) -> int:
    """Free bytes: of the GPU; or of the machine, as far as its container lets us have them."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    free = os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") if hasattr(os, "sysconf") else 1 << 40
    try:
        lines = dict(line.split(":", 1) for line in MEMINFO.read_text().splitlines())
        free = int(lines["MemAvailable"].split()[0]) << 10
    except (OSError, KeyError, ValueError):  # not Linux
        pass
    for limit, used in CGROUPS:
        try:
            free = min(free, int(limit.read_text()) - int(used.read_text()))
        except (OSError, ValueError):  # no container, or "max"
            continue
    return max(free, 0)


_measured: weakref.WeakKeyDictionary[Program, Need] = weakref.WeakKeyDictionary()


def need(cohort: Cohort) -> Need:
    """Measured on two and four rows of the first batch, once for a program: the bytes autograd saves for the backward
    pass, with the gradients and the new state beside them."""
    p = cohort.program
    if p not in _measured:
        now = _run(next(cohort.feed.steps(0, [1.0] * len(cohort.members))), 0, 1)
        state, const = cohort.executor.member(cohort.state, 0), cohort.executor.member(cohort.const, 0)
        few, more = min(2, now.y.shape[1]), min(4, now.y.shape[1])
        a, b = (saved(p, state, const, _rows(now, n)) for n in (few, more))
        row = PEAK * (b - a) / (more - few) if more > few else PEAK * a / few
        held = _bytes(state)
        _measured[p] = Need(held, held + _bytes(state["params"]) + max(PEAK * a - row * few, 0.0), row)
    return _measured[p]


def saved(program: Program, state: Any, const: Any, now: Now) -> int:
    """Bytes that autograd keeps of one step's forward passes, the weights left out."""
    own = {v.untyped_storage().data_ptr() for v in pytree.tree_leaves(state)}
    held: dict[int, int] = {}

    def pack(v: Tensor) -> Tensor:
        storage = v.untyped_storage()
        if storage.data_ptr() not in own:
            held[storage.data_ptr()] = storage.nbytes()
        return v

    def differentiate(f: Callable[..., Any]) -> Callable[..., Any]:
        def value_and_grad(params: Any) -> Any:
            own.update(v.untyped_storage().data_ptr() for v in params.values())
            with torch.autograd.graph.saved_tensors_hooks(pack, lambda v: v):
                return by_autograd(f)(params)

        return value_and_grad

    single = Single(program)
    single.differentiate = differentiate
    single.step([state], [const], now)
    return sum(held.values())


def fitting(cohort: Cohort) -> Pieces:
    """The pieces in which a step of the cohort takes at most `SHARE` of the free memory."""
    rows, runs = max(n for _, n in cohort.feed.batches), len(cohort.members)
    stacked, budget = isinstance(cohort.executor, Stack), SHARE * available(cohort.program.device)
    inputs = sum(v[0].numel() for v in cohort.data.inputs)
    weights = sum(v.numel() for v in cohort.program.net.module.parameters())
    if 8.0 * runs * rows * inputs * weights < budget:  # no layer gives out more than inputs × weights numbers
        return Pieces()
    try:
        one = need(cohort)
    except RuntimeError:  # it cannot do with fewer rows; then there is nothing to measure and nothing to split
        return Pieces()
    if one.of_step(rows) * (runs if stacked else 1) <= budget:
        return Pieces()
    if one.of_step(rows) <= budget:
        return Pieces(runs=max(1, int(budget / one.of_step(rows))))
    return Pieces(1, max(_least(cohort), min(rows, int((budget - one.step) / max(one.row, 1.0)))))


def fit(cohort: Cohort) -> None:
    """Before the first step: let the cohort train in pieces that fit."""
    if (pieces := fitting(cohort)) != Pieces():
        free = available(cohort.program.device)
        settle(
            cohort, pieces, next(cohort.feed.steps(0, [1.0] * len(cohort.members))), f"{free / 2**30:.1f} GiB are free"
        )


# --- steps in pieces --------------------------------------------------------------------------------------------------
def run(cohort: Cohort, fed: Fed, waiting: Callable[[], bool] = bool) -> tuple[Any, Tensor]:
    """The steps of a block that are not done yet, or fewer where something is ``waiting``, in the cohort's pieces;
    where memory runs out, again in pieces of half the size from then on."""
    while True:
        try:
            if cohort.pieces == Pieces():
                return cohort.executor.run(cohort.state, cohort.const, fed, waiting)
            return _one_by_one(cohort, fed, waiting)
        except RuntimeError as e:  # OutOfMemoryError is one; on CPU it has no class of its own
            if not isinstance(e, torch.OutOfMemoryError) and "can't allocate memory" not in str(e):
                raise
            why = " ".join(str(e).split())[:80]
        now = at_step(fed.block, fed.skip)
        settle(cohort, _halved(cohort, now, why), now, why)
        if cohort.program.device.type == "cuda":
            torch.cuda.empty_cache()


def _one_by_one(cohort: Cohort, fed: Fed, waiting: Callable[[], bool]) -> tuple[Any, Tensor]:
    state, losses, n = cohort.state, list[Tensor](), len(fed.block.t)
    for i in range(fed.skip, n):
        state, loss = in_pieces(cohort, state, at_step(fed.block, i))
        losses.append(loss)
        if i + 1 < n and waiting():
            break
    return state, torch.stack(losses)


def in_pieces(cohort: Cohort, whole: Any, now: Now) -> tuple[Any, Tensor]:
    """One step from the state ``whole`` in the cohort's pieces."""
    pieces, executor = cohort.pieces, cohort.executor
    small, all_runs = type(executor)(cohort.program), len(now.y)
    if pieces.rows:
        small.differentiate = in_parts(executor.differentiate, slices(now.y.shape[1], pieces.rows))
    states, losses = [], []
    for some in slices(all_runs, pieces.runs or all_runs):
        state, const = _some(whole, some), _some(cohort.const, some)
        state, loss = small.step(state, const, _run(now, some.start, some.stop))
        states.append(state)
        losses.append(loss)
    return _joined(states), torch.cat(losses)


def settle(cohort: Cohort, pieces: Pieces, now: Now, why: str) -> None:
    """Train in these pieces from now on, and say so."""
    rows, runs, told = now.y.shape[1], len(now.y), list[str]()
    if 0 < pieces.runs < runs and isinstance(cohort.executor, Stack):
        told.append(f"memory: {runs} runs were trained {pieces.runs} at a time ({why}).")
    if 0 < pieces.rows < rows:
        meet = meeting(cohort, now)
        equal = f"but {meet} sees each part alone" if meet else "which equals the whole up to rounding"
        told.append(f"memory: gradients of {rows} rows were summed {pieces.rows} rows at a time, {equal} ({why}).")
    cohort.notes = [n for n in cohort.notes if not n.startswith("memory:")] + told
    cohort.pieces = pieces


def meeting(cohort: Cohort, now: Now) -> str:
    """Where rows of a batch meet, so that its parts do not add up to it: measured on a few rows of the first run."""
    program, few = cohort.program, _rows(_run(now, 0, 1), 2 * _least(cohort))
    state, const = cohort.executor.member(cohort.state, 0), cohort.executor.member(cohort.const, 0)
    found: list[dict[str, Tensor]] = []

    def spying(differentiate: Callable[..., Any]) -> Callable[..., Any]:
        def of(f: Callable[..., Any]) -> Callable[..., Any]:
            def value_and_grad(params: Any) -> Any:
                grads, rest = differentiate(f)(params)
                found.append(grads)
                return grads, rest

            return value_and_grad

        return of

    n = few.y.shape[1]
    try:
        for differentiate in (by_autograd, in_parts(by_autograd, slices(n, (n + 1) // 2))):
            single = Single(program)
            single.differentiate = spying(differentiate)
            single.step([state], [const], few)
    except RuntimeError:  # not even these fit at once
        return "what compares rows"
    whole, parts = found[0], found[len(found) // 2]
    largest = max(float(v.abs().max()) for v in whole.values())
    if all(float((parts[k] - v).abs().max()) <= 1e-4 * largest for k, v in whole.items()):
        return ""
    norms = [t.key.partition("/")[0] for t in program.techniques if t.slot == "normalization"]
    norms += [type(m).__name__ for m in program.net.original.modules() if isinstance(m, BATCH_NORMS)]
    return " and ".join(dict.fromkeys(norms)) or "its loss"


def _least(cohort: Cohort) -> int:
    """Rows below which a batch has no statistics."""
    p = cohort.program
    own = any(isinstance(m, BATCH_NORMS) for m in p.net.original.modules())
    return 2 if own or any(t.slot == "normalization" for t in p.techniques) else 1


def _halved(cohort: Cohort, now: Now, why: str) -> Pieces:
    pieces, rows = cohort.pieces, now.y.shape[1]
    runs = min(pieces.runs or len(now.y), len(now.y)) if isinstance(cohort.executor, Stack) else 1
    if runs > 1:
        return Pieces((runs + 1) // 2, pieces.rows)
    rows = min(pieces.rows or rows, rows)
    if rows <= _least(cohort):
        raise EquipoiseError(
            f"memory ran out ({why}) with one run and {rows} rows of a batch at a time: use a smaller network, or free "
            "some memory."
        )
    return Pieces(1, max((rows + 1) // 2, _least(cohort)))


def slices(n: int, most: int) -> list[slice]:
    """0 … n in equal parts of at most ``most``, the first ones larger by one where that does not go up."""
    parts = -(-n // most)
    ends = [n * k // parts for k in range(parts + 1)]
    return [slice(a, b) for a, b in pairwise(ends)]


def _run(now: Now, a: int, b: int) -> Now:
    """The same step for the runs a … b − 1 alone."""
    per_run = ("x", "y", "w", "keys", "host", "rate", "rows")
    return now._replace(**{f: pytree.tree_map(lambda v: v[a:b], getattr(now, f)) for f in per_run})


def _rows(now: Now, n: int) -> Now:
    """The same step on the first ``n`` rows of its batch."""
    host = {k: v[:, :n] if v.dim() > 1 else v for k, v in now.host.items()}
    cut = {f: pytree.tree_map(lambda v: v[:, :n], getattr(now, f)) for f in ("x", "y", "w", "rows")}
    return now._replace(host=host, **cut)


def _some(states: Any, some: slice) -> Any:
    return states[some] if isinstance(states, list) else pytree.tree_map(lambda v: v[some], states)


def _joined(states: list[Any]) -> Any:
    if isinstance(states[0], list):
        return [s for part in states for s in part]
    return pytree.tree_map(lambda *leaves: torch.cat(leaves), *states)


def _bytes(tree: Any) -> int:
    return sum(v.nbytes for v in pytree.tree_leaves(tree))
