"""`train_many`: many runs, in cohorts that share one program."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .checkpoint import Folder, Keeper, asked
from .cohort import Cohort, open_gates
from .combined import CombinedRun, entry_of_members, expand, load
from .errors import EquipoiseError
from .executor import Single, Stack
from .feed import Schedule
from .plan import STACK, Member, Options, Plan, group, stacks, threads
from .precision import settled
from .programs import Workshop
from .progress import tracker
from .recipe import resolve
from .reference import reference_recipe
from .risks import warnings_for
from .run import Record, Run, Signature

if TYPE_CHECKING:
    from .data import Data

EXECUTORS = {e.kind: e for e in (Single, Stack)}
NOTHING = Keeper()  # keeps nothing


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
    ``out``: a folder that gets one run folder per run, and checkpoints until all are finished; None writes nothing.
    ``resume``: go on with what ``out`` holds, to the same bits; as in `train`. Raises EquipoiseError for bad input.
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
    schedule = Schedule(epochs, batch_size, shuffle)
    options.resolved_device()  # one that is not there is refused before anything is written
    if out is None:
        return train_members(model, members, data, schedule, options)
    folders = [Path(out) / f"run-{i:04d}" for i in range(len(members))]
    with Folder(out, asked(model, members, data, schedule), resume) as keeper:
        if keeper.done(folders):
            return [load(f, model=model, data=data) for f in folders]
        runs = train_members(model, members, data, schedule, options, keeper=keeper)
        keeper.finish(runs, folders)
    return runs


def train_members(
    model: Any,
    members: Sequence[Member],
    data: Data,
    schedule: Schedule,
    options: Options,
    *,
    progress: Any = None,
    workshop: Workshop | None = None,
    keeper: Keeper = NOTHING,
) -> list[Run]:
    """`train_many` for members that are made already (own rows, own rate factors). A run whose recipe holds Ensemble,
    Bagging or Snapshot comes back as one `CombinedRun`."""
    options = keeper.start(options, lambda open_: settled(open_, model, members[0], data, schedule))
    threads(options)
    data, workshop = data.to(options.resolved_device()), workshop or Workshop()
    parts = [expand(m, data) for m in members]
    flat = [(member, own or model) for each in parts for member, own in each]
    runs: list[Run | None] = [None] * len(flat)
    with tracker(options.progress, progress) as track:
        track.total(len(flat) * schedule.epochs)
        for network in dict.fromkeys(id(net) if not isinstance(net, str) else net for _, net in flat):
            which = [i for i, (_, net) in enumerate(flat) if (net if isinstance(net, str) else id(net)) == network]
            done = _train_network(
                flat[which[0]][1], [flat[i][0] for i in which], data, schedule, options, track, workshop, keeper
            )
            for i, run in zip(which, done, strict=True):
                runs[i] = run
    found = iter(r for r in runs if r is not None)
    return [_combined([next(found) for _ in each], m, data) for each, m in zip(parts, members, strict=True)]


def _train_network(
    model: Any,
    members: Sequence[Member],
    data: Data,
    schedule: Schedule,
    options: Options,
    track: Any,
    workshop: Workshop,
    keeper: Keeper,
) -> list[Run]:
    """All runs of one network, program by program, in cohorts of one size."""
    runs: dict[int, Run] = {}
    for techniques, indices in group(members, workshop.known(model)):
        program = workshop.program(model, techniques, members[indices[0]], data, options)
        cohorts = stacks(members, indices, STACK)
        for some in cohorts:
            stored, together = keeper.plan(), [members[i] for i in some]
            cohort = Cohort(program, together, data, schedule, EXECUTORS.get(stored.get("executor", "")))
            if "gates" in stored:  # decided beforehand, not by what was compiled in this process
                program.gates_open = open_gates(together) if stored["gates"] is None else frozenset(stored["gates"])
            cohort.why = cohort.why or stored.get("why", "")
            mode = ("always" if stored["compiled"] else "never") if stored else options.compile
            alike = stored.get("cohorts", len(cohorts))
            compiling = cohort.compile(replace(options, compile=mode), alike, stored.get("part", 0))
            kind, part, used, device = cohort.executor.kind, cohort.executor.part, threads(options), str(program.device)
            plan = Plan(kind, cohort.compiled, options.precision, used, len(some), device, part=part, why=cohort.why)
            keeper.restore(cohort, plan)
            track.advance(len(some) * cohort.epoch, cohort.epoch, schedule.epochs)
            while not cohort.finished:
                track.advance(len(some) * cohort.train_epoch(keeper.waiting), cohort.epoch, schedule.epochs)
                keeper.after(cohort)
            track.advance(len(some) * (schedule.epochs - cohort.epoch), schedule.epochs, schedule.epochs)
            for j, i in enumerate(some):
                runs[i] = _run(cohort, j, model, plan, compiling, data)
    return [runs[i] for i in range(len(members))]


def _run(cohort: Cohort, i: int, model: Any, plan: Plan, compiling: float, data: Data) -> Run:
    member, progress, s = cohort.members[i], cohort.runs[i], cohort.schedule
    compiling, total = compiling / len(cohort.members), cohort.seconds / len(cohort.members)
    seconds = {"compile": compiling, "train": total - compiling, "total": total}
    net = cohort.program.net
    notes = [*net.notes, *cohort.notes, *warnings_for(member.recipe, data, net, s.batch_size)]
    source = {"source": data.source, "fingerprint": data.fingerprint, "split": data.split_dict()}
    record = Record(
        member.seed, s.epochs, s.batch_size, s.shuffle, plan.to_dict(), seconds, progress.history, notes,
        progress.ended, progress.failed, model if isinstance(model, str) else "", data=source,
    )  # fmt: skip
    const, state = cohort.executor.member(cohort.const, i), cohort.result(i)
    run = Run(cohort.program, member.recipe, state, const, record, Signature.of(data), data)
    entry: Any = entry_of_members(member.recipe)
    if entry is None or not hasattr(entry, "snapshots"):
        return run
    kept = entry.snapshots(state["params"], state["buffers"], cohort.at_end(i, entry.key))
    states = [{**state, "params": p, "buffers": b} for p, b in kept]
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
    record = replace(first, seed=member.seed, seconds=seconds, failed=failed, command="", test_looks=0)
    return CombinedRun(entry, runs, member.recipe, record, data)


def checked_seed(seed: Any) -> int:
    if isinstance(seed, bool) or not isinstance(seed, int) or not 0 <= seed < 1 << 32:
        raise EquipoiseError(f"seed={seed!r}: a whole number from 0 to 4294967295.")
    return seed
