"""Equipoise as its users call it: `train_members`, held at the end of every epoch."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

import torch
from cases import CASES, Case, rows
from gate import FOREVER, Gate
from timing import Variant

from equipoise import techniques as T
from equipoise.data import Data
from equipoise.errors import EquipoiseError
from equipoise.feed import Schedule
from equipoise.plan import Member, Options
from equipoise.progress import Tracker
from equipoise.recipe import resolve
from equipoise.technique import Empty, Technique
from equipoise.training import train_members

STOP = 64  # rows scored after every epoch


@cache
def data(name: str) -> Data:
    """The case's rows to fit on, and a few more for the scores an epoch ends with."""
    case = CASES[name]
    x, y = (v.cpu() for v in rows(name))
    n = len(x)
    x, y = torch.cat([x, x[: 3 * STOP]]), torch.cat([y, y[: 3 * STOP]])
    parts = {r: list(range(n + i * STOP, n + (i + 1) * STOP)) for i, r in enumerate(("stop", "assess", "test"))}
    kind = "image" if len(case.shape) == 3 else "table"
    return Data(x, y, task="classify", kind=kind, split={"fit": list(range(n)), **parts}, name=f"case {name}")


def recipe(case: Case) -> list[Technique]:
    """The case itself. The others' inputs come prepared, so ours are not standardized in the step."""
    optimizer: Technique = T.Nesterov(case.rate) if case.optimizer == "nesterov" else T.AdamW(case.rate, decay=0.01)
    noise: dict[str, list[Technique]] = {
        "a": [T.BatchNorm(), T.Dropout(0.5)],
        "b": [T.BatchNorm(where=("conv1", "conv2")), T.Dropout(0.25, where="fc1")],
        "c": [],
    }
    return [Empty("inputs"), *noise[case.name], optimizer]


def machinery(case: Case, i: int) -> list[Technique]:
    """Run i of a cohort: the case with dropout, L2, clipping and mixing in the program, at knobs of its own."""
    mine = recipe(case)
    if case.name == "c":
        mine.insert(1, T.Dropout(0.1 + 0.1 * (i % 4)))
    return [*mine, T.L2(1e-4 * (1 + i % 3)), T.ClipGradients(5.0, by="norm"), T.MixUp(0.1 + 0.1 * (i % 2))]


class _Ticks(Tracker):
    def __init__(self, tick: Callable[[], None]) -> None:
        self._tick, self._epoch = tick, 0

    def advance(self, n: int, epoch: int, epochs: int) -> None:
        if epoch > self._epoch:
            self._epoch = epoch
            self._tick()


def trained(case: Case, recipes: Sequence[list[Technique]], options: dict[str, Any]) -> Gate:
    """One run gets the threads of the bare loop, a cohort all cores; how many it takes is the library's choice."""
    kind, threads = data(case.name), case.threads if len(recipes) == 1 else os.cpu_count() or 1
    members = [Member(resolve(r, kind.task), i) for i, r in enumerate(recipes)]
    schedule, chosen = Schedule(FOREVER, case.batch), Options(**{"threads": threads, "progress": False, **options})
    build = lambda: case.build(False)  # noqa: E731
    return Gate(
        lambda tick: train_members(build, members, kind, schedule, chosen, progress=_Ticks(tick)),
        chosen.threads or threads,
    )


def plan_of(gate: Gate | None) -> str:
    """What the training that is held planned, read from its frames: executor, precision, cohort, compiled."""
    frame = gate.body.gr_frame if gate else None
    while frame is not None:
        plan = frame.f_locals.get("plan")
        if hasattr(plan, "to_dict"):
            facts = plan.to_dict()
            told = [f"{k} {facts[k]}" for k in ("executor", "part", "compiled", "precision", "threads") if k in facts]
            return ", ".join(told) + (f": {facts['why']}" if facts.get("why") else "")
        frame = frame.f_back
    return ""


def _variant(name: str, case: Case, recipes: Sequence[list[Technique]], precision: str, compile: str) -> Variant:
    gate: Gate | None = None

    def start() -> Callable[[int], None]:
        nonlocal gate
        gate = trained(case, recipes, {"precision": precision, "compile": compile})
        return gate.run

    return Variant(name, start, len(recipes), precision, lambda: plan_of(gate))


def automatic() -> str:
    """The precision that looks for itself, or bfloat16 where there is none."""
    try:
        Options(precision="auto")
        return "auto"
    except EquipoiseError:
        return "bfloat16"


def single(case: Case, precision: str = "float32", compile: str = "always") -> Variant:
    how = "" if compile == "always" else f", compile={compile}"
    return _variant(f"Equipoise, one run, {precision}{how}", case, [recipe(case)], precision, compile)


def cohort(case: Case, runs: int, precision: str = "float32") -> Variant:
    name = f"Equipoise, {runs} runs with all machinery, {precision}"
    return _variant(name, case, [machinery(case, i) for i in range(runs)], precision, "always")


def variants(case: Case) -> list[Variant]:
    out = [single(case), single(case, automatic())]
    for runs in case.cohorts:
        out.append(cohort(case, runs))
    return [*out, cohort(case, case.cohorts[0], automatic())]
