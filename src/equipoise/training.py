"""`train_many`: many runs, in cohorts that share one program."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .cohort import Cohort
from .combined import CombinedRun, entry_of_members, expand
from .errors import EquipoiseError
from .feed import Schedule
from .plan import STACK, Member, Options, Plan, group, stacks, threads
from .programs import Workshop, warnings_for
from .progress import tracker
from .recipe import resolve
from .reference import reference_recipe
from .run import Record, Run, Signature

if TYPE_CHECKING:
    from .data import Data


def train_many(
    model: Any,
    recipes: Sequence[Any],
    data: Data,
    *,
    seeds: Sequence[int],
    epochs: int,
    batch_size: int = 64,
    shuffle: str = "each",
    out: Any = None,
    resume: bool = False,
    options: Options = Options(),
) -> list[Run]:
    """Train run i with ``recipes[i]`` from ``seeds[i]``; runs that share a program are trained together.

    Run i equals `train` with that recipe and seed, noise included, to float tolerance. ``model``: a builder without
    arguments, a reference network ("mlp(hidden=(64, 64))"), "module:function", or an nn.Module that is copied.
    ``out``: a folder that gets one run folder per run; None writes nothing. Raises EquipoiseError for bad input.
    """
    recipes, seeds = list(recipes), list(seeds)
    if len(recipes) != len(seeds) or not recipes:
        raise EquipoiseError(
            f"{len(recipes)} recipes and {len(seeds)} seeds came: they are zipped, so give equally many, at least one."
        )
    members = [
        Member(resolve(r, data.task, default=reference_recipe(model)), checked_seed(s))
        for r, s in zip(recipes, seeds, strict=True)
    ]
    done = train_members(model, members, data, Schedule(epochs, batch_size, shuffle), options)
    if out is not None:
        for i, run in enumerate(done):
            run.save(Path(out) / f"run-{i:04d}")
    return done


def train_members(
    model: Any,
    members: Sequence[Member],
    data: Data,
    schedule: Schedule,
    options: Options,
    *,
    progress: Any = None,
    workshop: Workshop | None = None,
) -> list[Run]:
    """`train_many` for members that are made already (own rows, own rate factors). A run whose recipe holds Ensemble,
    Bagging or Snapshot comes back as one `CombinedRun`."""
    data, workshop = data.to(options.resolved_device()), workshop or Workshop()
    parts = [expand(m, data) for m in members]
    flat = [(member, own or model) for each in parts for member, own in each]
    runs: list[Run | None] = [None] * len(flat)
    with tracker(options.progress, progress) as track:
        track.total(len(flat) * schedule.epochs)
        for network in dict.fromkeys(id(net) if not isinstance(net, str) else net for _, net in flat):
            which = [i for i, (_, net) in enumerate(flat) if (net if isinstance(net, str) else id(net)) == network]
            done = _train_network(flat[which[0]][1], [flat[i][0] for i in which], data, schedule, options, track, workshop)
            for i, run in zip(which, done, strict=True):
                runs[i] = run
    found = iter(r for r in runs if r is not None)
    return [_combined([next(found) for _ in each], m, data) for each, m in zip(parts, members, strict=True)]


def _train_network(
    model: Any, members: Sequence[Member], data: Data, schedule: Schedule, options: Options, track: Any, workshop: Workshop
) -> list[Run]:
    """All runs of one network, program by program, in cohorts of one size."""
    runs: dict[int, Run] = {}
    for techniques, indices in group(members, workshop.known(model)):
        program = workshop.program(model, techniques, members[indices[0]], data, options)
        cohorts = stacks(members, indices, STACK)
        size = max(map(len, cohorts))
        for some in cohorts:
            padding = size - len(some) if len(some) > 1 else 0  # one size: one compiled step
            began = time.perf_counter()
            cohort = Cohort(program, [members[i] for i in [*some, *[some[-1]] * padding]], data, schedule)
            compiling = cohort.compile(options, len(cohorts))
            while not cohort.finished:
                cohort.train_epoch()
                track.advance(len(some), cohort.epoch, schedule.epochs)
            track.advance(len(some) * (schedule.epochs - cohort.epoch), schedule.epochs, schedule.epochs)
            seconds = (compiling, time.perf_counter() - began)
            for j, i in enumerate(some):
                runs[i] = _run(cohort, j, model, options, seconds, data)
    return [runs[i] for i in range(len(members))]


def _run(cohort: Cohort, i: int, model: Any, options: Options, seconds: tuple[float, float], data: Data) -> Run:
    member, progress, s = cohort.members[i], cohort.runs[i], cohort.schedule
    compiling, total = (v / len(cohort.members) for v in seconds)
    used, device = threads(options), str(cohort.program.device)
    plan = Plan(cohort.executor.kind, cohort.compiled, options.precision, used, len(cohort.members), device, why=cohort.why)
    record = Record(
        member.seed, s.epochs, s.batch_size, s.shuffle, plan.to_dict(), {"compile": compiling, "train": total - compiling, "total": total},
        progress.history, [*cohort.program.net.notes, *warnings_for(member.recipe, data)], progress.ended, progress.failed,
        model if isinstance(model, str) else "", data={"source": data.source, "fingerprint": data.fingerprint, "split": data.split_dict()},
    )  # fmt: skip
    const, state = cohort.executor.member(cohort.const, i), cohort.result(i)
    run = Run(cohort.program, member.recipe, state, const, record, Signature.of(data), data)
    entry = entry_of_members(member.recipe)
    if entry is None or not hasattr(entry, "snapshots"):
        return run
    states = [{**state, "params": p, "buffers": b} for p, b in entry.snapshots(state["params"], state["buffers"], cohort.at_end(i, entry.key))]  # type: ignore[attr-defined]
    each = [Run(cohort.program, member.recipe, st, const, record, run.signature, data) for st in states]
    return CombinedRun(entry, each, member.recipe, record, data)


def _combined(runs: Sequence[Run], member: Member, data: Data) -> Run:
    """One run of its members, where the recipe says so."""
    entry = entry_of_members(member.recipe)
    if entry is None or "runs" not in entry.acts_in():
        return runs[0]
    first = runs[0].record
    failed = "; ".join(f"member {i}: {r.failed}" for i, r in enumerate(runs) if r.failed)
    seconds = {k: sum(r.record.seconds[k] for r in runs) for k in first.seconds}
    record = Record(member.seed, first.epochs, first.batch_size, first.shuffle, first.plan, seconds, first.history, first.notes, first.ended, failed, first.model, data=first.data)  # fmt: skip
    return CombinedRun(entry, runs, member.recipe, record, data)


def checked_seed(seed: Any) -> int:
    if isinstance(seed, bool) or not isinstance(seed, int) or not 0 <= seed < 1 << 32:
        raise EquipoiseError(f"seed={seed!r}: a whole number from 0 to 4294967295.")
    return seed
