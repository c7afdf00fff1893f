"""`study`: a randomized factorial experiment with paired seeds, from the question to the confirmed recommendation."""

from __future__ import annotations

import shutil
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..checkpoint import refuse_change
from ..checkpoint.how import follow, how
from ..checkpoint.series import writing
from ..errors import EquipoiseError
from ..feed import Schedule
from ..plan import Member, Options
from ..precision import settled
from .costs import by_technique
from .factors import arm
from .finished import Study, finished
from .judged import HALVES_FROM, Judged, judged, seconds
from .phases import CONFIRM, Setting, confirm_phase, design_phase, halves_phase, keys_of, targets_of
from .planned import StudyPlan, prepare, primary_metric
from .store import NAME, Store
from .terms import TELL, Judging, Terms, asked_for, terms_of
from .work import FOLDER, Worker

if TYPE_CHECKING:
    from ..data import Data

CONFIRM_SEEDS = 10
FRESH = 1_000_000  # confirmation seeds start this far from the study's


def study(
    model: Any,
    recipe: Any,
    data: Data,
    techniques: Any = None,
    *,
    seeds: int | Sequence[int] = 3,
    epochs: int,
    batch_size: int = 64,
    metric: str | None = None,
    smallest: float | None = None,
    lr: str = "ladder",
    trade_splits: int = 2,
    configurations: int | None = None,
    seed: int = 0,
    looks: int | Sequence[int] | None = None,
    out: str | Path | None = None,
    resume: bool = False,
    more: int | None = None,
    options: Options = Options(),
    progress: Any = None,
) -> Study:
    """Which of ``techniques`` pay on this network and this data, each with an interval; the best of them, confirmed.

    techniques: a comma list, or techniques and lists of levels; None takes the default factors of the data's kind.
    seeds: how many seed blocks (≥ 2), or which. metric: the primary metric (default loss, rmse); smallest: the smallest
    effect of interest in its unit (default 2 % of the baseline, .005 for accuracy). lr: "ladder" (×¼, ×1, ×4, each
    arm at its own best rate, cross-fitted) or "fixed". trade_splits: random half-splits for bias² and variance
    (0: none).

    looks: the seed blocks in hand at each look at which the study may be read and ended, (3, 6, 9), or how many equally
    spaced; declared now, for they widen every interval (`stats.Looks`). more: add so many seed blocks to the finished
    study in ``out``, up to a later declared look.

    out: a folder that holds the study while it runs (study.sqlite: every finished run is there at once) and its report
    afterwards; None writes nothing. resume: go on with what ``out`` holds, to the same bits, also beside another
    process that works on it; a finished study is loaded, and files of it that are missing are written again.
    Returns a `Study`. Raises EquipoiseError for bad input, and where ``out`` holds another question.
    """
    plan = prepare(model, recipe, data, techniques, seeds=seeds, lr=lr, configurations=configurations, seed=seed)
    if out is not None and not (Path(out) / NAME).exists():
        plan.costs = by_technique(plan, data, model, Schedule(epochs, batch_size), options)
    judging = Judging(primary_metric(data, metric), smallest, trade_splits, looks, seed)
    setting = Setting(model, data, Schedule(epochs, batch_size), options)
    return conduct(setting, plan, judging, out=out, resume=resume, more=more, progress=progress)


def conduct(
    setting: Setting,
    plan: StudyPlan,
    judging: Judging,
    *,
    out: str | Path | None = None,
    resume: bool = False,
    more: int | None = None,
    command: str = "",
    progress: Any = None,
) -> Study:
    """`study` for a plan that is made already. ``command``: how it was asked for, to repeat it."""
    began = time.perf_counter()
    setting = replace(setting, data=setting.data.to(setting.options.resolved_device()))
    terms = terms_of(setting, plan, judging, command)
    goes_on = resume or more is not None
    if out is None:
        if goes_on:
            raise EquipoiseError("resume and more need out=: the folder that holds the study.")
        with Store(None) as store:
            _begin(store, setting, plan, terms)
            options, _ = follow(store.fact("how"), setting.options)
            return _run(Worker(store, replace(setting, options=options), None, began=began), terms, progress)
    folder = Path(out)
    check_folder(folder, resume, more)
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
    with Store(folder / NAME) as store:
        fresh = False
        try:
            fresh = _begin(store, setting, plan, terms)
            if not fresh and not goes_on:
                raise EquipoiseError(f"another process has just begun a study in {folder}: resume=True takes part.")
            refuse_change(store.fact("asked"), asked_for(setting, plan, terms), folder, TELL)
            if more is not None:
                _grow(store, more)
            options, notes = follow(store.fact("how"), setting.options)
            result = finished(store, terms)
            if result is None:
                worker = Worker(store, replace(setting, options=options), folder, notes, began)
                result = _run(worker, Terms.from_dict(store.fact("terms"), terms), progress)
            with writing(folder):
                result.keep(folder)
        except EquipoiseError:
            if fresh:
                _forget_if_empty(store, folder)
            raise
    return result


def check_folder(folder: Path, resume: bool, more: int | None) -> None:
    """Raises EquipoiseError where a study cannot begin, or go on, in this folder."""
    store, result = (folder / NAME).exists(), (folder / "study.json").exists()
    if more is not None and not store:
        raise EquipoiseError(f"{folder} holds no study to add seed blocks to: name the folder of a finished one.")
    if resume and result and not store:
        raise EquipoiseError(
            f"{folder} holds a result, but not its store {NAME}: choose another folder, or --overwrite."
        )
    if (store or result) and not resume and more is None:
        raise EquipoiseError(
            f"{folder} holds a study already: resume=True goes on with it or loads it (--resume, or --overwrite to "
            "replace it); or choose another folder."
        )


def _begin(store: Store, setting: Setting, plan: StudyPlan, terms: Terms) -> bool:
    """Write the question, where there is none; True where this process did."""
    if store.begun:
        return False
    data = setting.data
    options = settled(setting.options, setting.model, Member(plan.base, 0), data, setting.schedule)
    facts = {
        "asked": asked_for(setting, plan, terms), "terms": terms.to_dict(), "seeds": list(plan.seeds),
        "how": how(options),
    }  # fmt: skip
    arrays = {"targets": targets_of(data, "assess")}
    for role in ("assess", "test"):
        if (groups := data.groups_of(role)) is not None:
            arrays[f"groups {role}"] = groups
    return store.begin(facts, arrays)


def _run(worker: Worker, terms: Terms, progress: Any) -> Study:
    """Train what is not trained yet, phase by phase, and close the look."""
    store, setting = worker.store, worker.setting
    arms = [arm(terms.base, terms.asked, row) for row in terms.design.matrix]
    with worker:
        seeds = store.fact("seeds")
        blocks = [keys_of(terms.design.order, terms.rates, s) for s in seeds]
        worker.work(design_phase(setting, arms, blocks, terms.names, terms.looks[-1]), progress)
        j = judged(store, terms)
        if terms.splits:
            often = [terms.rates[i] for i in j.often]
            phase, _ = halves_phase(setting, arms, terms.splits, terms.seed + HALVES_FROM, often)
            worker.work(phase, progress)
        if what := _to_confirm(store, terms, j):
            recipes = [j.candidate, j.baseline]
            worker.work(confirm_phase(setting, recipes, what["seeds"], terms.metric, what["look"]), progress)
        worker.tidy()
        store.beat(worker.id, worker.seconds)
        store.finish(j.looks.now, seeds, seconds(store))
    result = finished(store, terms)
    assert result is not None
    return result


def _to_confirm(store: Store, terms: Terms, j: Judged) -> dict[str, Any] | None:
    """What is to be confirmed at this look, on seeds of its own; an earlier look's runs where it is the same pair."""
    if not j.differ:
        return None
    now, pair = j.looks.now, [r.to_list() for r in (j.candidate, j.baseline)]
    for earlier in range(1, now):
        what = store.fact(f"{CONFIRM} {earlier}")
        if what and what["recipes"] == pair:
            return store.settle(f"{CONFIRM} {now}", what)
    first = terms.seed + FRESH + (now - 1) * CONFIRM_SEEDS
    seeds = list(range(first, first + CONFIRM_SEEDS))
    return store.settle(f"{CONFIRM} {now}", {"look": now, "recipes": pair, "seeds": seeds})


def _grow(store: Store, more: int) -> None:
    """Whole seed blocks in addition, up to a declared look that is to come."""
    declared, seeds = store.fact("terms")["looks"], store.fact("seeds")
    have, looks = len(seeds), ", ".join(map(str, declared))
    if more < 1:
        raise EquipoiseError(f"--more {more}: at least one seed block.")
    if not any(taken == seeds for _, taken, _ in store.looks()):
        raise EquipoiseError(f"--more {more}: the study is not finished yet; go on with it first, --resume.")
    later = [v - have for v in declared if v > have]
    if not later:
        raise EquipoiseError(
            f"--more {more}: looks were declared at {looks} seed blocks, and the last one is taken: its intervals have "
            "spent the whole error rate, and no later one would hold. Start anew with looks declared beforehand, "
            f"--looks {have},{2 * have}."
        )
    if more not in later:
        raise EquipoiseError(
            f"--more {more}: looks were declared at {looks} seed blocks and there are {have}: add "
            f"{' or '.join(map(str, later))}."
        )
    first = max(seeds) + 1
    store.replace("seeds", [*seeds, *range(first, first + more)])


def _forget_if_empty(store: Store, folder: Path) -> None:
    """A study that failed before anything of it was trained leaves nothing."""
    try:
        if store.states().get("done") or store.workers() > 1:
            return
        store.close()
        for name in (NAME, f"{NAME}-wal", f"{NAME}-shm"):
            (folder / name).unlink(missing_ok=True)
        shutil.rmtree(folder / FOLDER, ignore_errors=True)
        folder.rmdir()
    except (OSError, EquipoiseError):
        return
