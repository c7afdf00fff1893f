"""Run the benchmark: every case once, one line of JSON each; what a file already holds is not run again.

    python -m benchmarks.doctor.run --part calibrate --out calibration.jsonl
    python -m benchmarks.doctor.run --part "held out" --out held_out.jsonl

One thread, eager steps. ``--only`` takes cases whose name contains a text; ``--slice`` every n-th case; ``--traces`` a
folder that gets of each training what the rules read, for `calibrate`; ``--seeds`` some of the seeds.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import math
import pickle
import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor

from equipoise import metrics
from equipoise.cohort import Cohort
from equipoise.doctor import Course
from equipoise.doctor.diagnose import judged
from equipoise.doctor.mend import first_causes, with_proposals
from equipoise.doctor.watch import Watched, Watcher
from equipoise.errors import EquipoiseError
from equipoise.feed import Schedule
from equipoise.plan import Member, Options, group
from equipoise.probe import Finding, Measure, Trace
from equipoise.programs import make_program
from equipoise.recipe import Recipe
from equipoise.run import Run
from equipoise.training import train_many

from . import baselines
from .faults import CONTROLS, FAULTS, MILD, STRONG
from .programs import PROGRAMS, Program, Setup

OPTIONS = Options(device="cpu", compile="never", threads=1, progress=False)
SEEDS = (0, 1, 2)
LONGER = 2  # times the epochs after which a network counts as trained


@dataclass(frozen=True)
class Case:
    """A program, what is done to it, how much, and from which seed. ``kind``: fault or healthy."""

    program: Program
    kind: str
    what: str
    severity: int
    seed: int

    @property
    def name(self) -> str:
        return f"{self.program.name}/{self.what}/{self.severity}/{self.seed}"

    def setup(self) -> Setup:
        healthy = self.program.setup()
        if self.kind == "fault":
            return next(f for f in FAULTS if f.name == self.what).change(healthy, self.severity)
        control = next(c for c in CONTROLS if c.name == self.what)
        changed = control.change(healthy)
        if not control.trained:
            return changed
        return dataclasses.replace(changed, build=trained(self.program, self.seed).model)


def cases() -> Iterator[Case]:
    """All of them: healthy ones seed by seed, then strong faults, then mild ones, fault by fault."""
    for seed in SEEDS:
        yield from (Case(p, "healthy", c.name, 0, seed) for p in PROGRAMS for c in CONTROLS if c.befalls(p))
    for severity in (STRONG, MILD):
        for f in FAULTS:
            yield from (Case(p, "fault", f.name, severity, s) for p in PROGRAMS if f.befalls(p) for s in SEEDS)


@cache
def trained(program: Program, seed: int) -> Run:
    """The program after a longer training."""
    setup = program.setup()
    return ordinary(dataclasses.replace(setup, epochs=LONGER * setup.epochs), setup.resolved(), seed)


class Evaluating(Watcher):
    """The doctor's watcher; beside the loss on `stop` it keeps that on as many fit rows, which other tools read."""

    def __init__(self, cohort: Cohort, steps: int, seed: int) -> None:
        super().__init__(cohort, steps, seed)
        self.fits: list[Tensor] = []

    def _look(self, step: int, points: set[int], evaluations: set[int]) -> None:
        super()._look(step, points, evaluations)
        if step in evaluations:
            self.fits.append(self._each(self.bench.rows[: len(self._stop_rows)]))


def watched(setup: Setup, seed: int) -> tuple[Trace, Evaluating]:
    """What `equipoise.doctor` records of a set-up, and the training itself, which is bit for bit the ordinary one."""
    member, data = Member(setup.resolved(), seed), setup.data
    ((techniques, _),) = group([member])
    program = make_program(setup.build, techniques, member, data, OPTIONS)
    n = len(data.rows["fit"])
    course = Course(setup.epochs * len(Schedule(1, setup.batch).batches(n)), seed, setup.batch, setup.shuffle)
    watcher = Evaluating(Cohort(program, [member], data, course.schedule(n), Watched), course.steps, seed)
    return watcher.trace(), watcher


def ordinary(setup: Setup, recipe: Recipe, seed: int) -> Run:
    """A training without a look at it."""
    return train_many(
        setup.build, [recipe], setup.data, seeds=[seed], epochs=setup.epochs, batch_size=setup.batch,
        shuffle=setup.shuffle, options=OPTIONS,
    )[0]  # fmt: skip


def scores(cohort: Cohort, role: str) -> dict[str, float]:
    """Every metric of the run as it stands, on one role."""
    data = cohort.data
    x, y = data.select(role)
    prediction = cohort.predict(cohort.state, cohort.const, x)[0].double().numpy()
    return {m: float(metrics.score(m, prediction, y.numpy())) for m in metrics.metrics_for(data.task, data.outputs)}


def loss_of(scores: dict[str, float], task: str) -> float:
    """Cross-entropy or mean squared error; infinite where training failed."""
    value = scores["loss"] if task == "classify" else scores["rmse"] ** 2
    return value if math.isfinite(value) else math.inf


@cache
def constant(program: Program) -> float:
    """Loss on `assess` of the best constant that the fit rows tell: class shares, or the mean target."""
    data = program.source()
    fit, assess = (data.y[data.rows[k]].numpy() for k in ("fit", "assess"))
    if data.task == "classify":
        shares = np.bincount(fit, minlength=data.outputs) / len(fit)
        return float(-np.log(shares[assess]).mean())
    return float(((assess - fit.mean(0)) ** 2).mean())


def mended(setup: Setup, recipe: Recipe, findings: list[Finding], seed: int) -> float | None:
    """Loss on `assess`, which steers nothing, with what the first causes propose and for as many steps; None where they
    propose nothing, infinite where training fails or the set-up cannot take it."""
    proposed = with_proposals(recipe, findings)
    course = {k: v for f in first_causes(findings) for k, v in f.course.items()}
    if proposed == recipe and not course:
        return None
    n = len(setup.data.rows["fit"])
    steps = setup.epochs * len(Schedule(1, setup.batch).batches(n))
    changed = Course(steps, seed, setup.batch, setup.shuffle).changed(course)
    epochs = changed.schedule(n).epochs
    other = dataclasses.replace(setup, epochs=epochs, batch=changed.batch_size, shuffle=changed.shuffle)
    try:
        run = ordinary(other, proposed, seed)
    except EquipoiseError:
        return math.inf
    return math.inf if run.failed else loss_of(run.score("assess"), setup.data.task)


def ran(case: Case, traces: Path | None = None) -> dict[str, Any]:
    """One line of the results."""
    began = time.process_time()
    setup = case.setup()
    recipe, task = setup.resolved(), setup.data.task
    trace, watcher = watched(setup, case.seed)
    cohort = watcher.cohort
    findings, measures = judged(trace)
    looked = time.process_time() - began
    loss = math.inf if trace.failed else loss_of(scores(cohort, "assess"), task)
    accuracy = scores(cohort, "stop").get("accuracy")
    proposed = with_proposals(recipe, findings)
    better = mended(setup, recipe, findings, case.seed)
    if traces is not None:
        (traces / f"{case.name.replace('/', '~')}.pickle").write_bytes(pickle.dumps((measures, slim(trace))))
    return {
        "case": case.name, "part": case.program.part, "program": case.program.name, "kind": case.kind,
        "what": case.what, "severity": case.severity, "seed": case.seed, "steps": len(trace.losses),
        "learned": round(trace.learned, 4) if math.isfinite(trace.learned) else None,
        "findings": [[f.probe, f.where, number(f.value)] for f in findings],
        "proposed": [repr(t) for t in proposed if t not in recipe],
        "loss": number(loss), "constant": number(constant(case.program)),
        "mended": None if better is None else number(better),
        "debugger": baselines.debugger(trace, watcher.fits),
        "autotrainer": baselines.autotrainer(trace, watcher.fits, accuracy),
        "ruled": extremes(measures),
        "doctor_seconds": round(looked, 2), "seconds": round(time.process_time() - began, 2),
    }  # fmt: skip


def number(v: float) -> float | str:
    """JSON has no infinity."""
    return float(f"{v:.5g}") if math.isfinite(v) else str(v)


def extremes(measures: list[Measure]) -> dict[str, list[float | str]]:
    """Smallest and largest value of each measure that a rule reads, over the layers."""
    found: dict[str, list[float]] = {}
    for m in measures:
        if m.threshold is not None:
            found.setdefault(f"{m.probe}: {m.unit}", []).append(m.value)
    return {k: [number(min(v)), number(max(v))] for k, v in found.items()}


def answering(a: Tensor) -> Tensor:
    """One row: 1 for each unit that is not 0 throughout."""
    return (a != 0).flatten(0, -2).any(0, keepdim=True).float()


def slim(trace: Trace) -> Trace:
    """What the rules of the probes read of a trace, without what only measuring needs."""
    nothing = torch.zeros(0)

    def thin(m: Any) -> Any:
        layers = tuple(
            dataclasses.replace(s, x=s.x[:64].clone() if i == 0 else nothing, z=nothing, a=answering(s.a))
            for i, s in enumerate(m.layers)
        )
        return dataclasses.replace(
            m, layers=layers, params={}, buffers={}, norms={}, grads={}, gradient=None, micro=None
        )

    moments = tuple(map(thin, trace.moments))
    return dataclasses.replace(
        trace, moments=moments, turn=moments[-1], updated={}, inputs=(), roles={}, batches=(), hidden={}, looks=(),
        function=cast(Any, None),
    )  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description="Run the doctor's benchmark: every case once, one line of JSON each.")
    parser.add_argument("--part", default="", help="calibrate or 'held out'; default: both")
    parser.add_argument("--only", default="")
    parser.add_argument("--slice", type=int, default=1)
    parser.add_argument("--seeds", type=int, nargs="*", default=SEEDS)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--traces", type=Path)
    given = parser.parse_args()
    torch.set_num_threads(1)
    if given.traces:
        given.traces.mkdir(parents=True, exist_ok=True)
    done = set()
    if given.out.exists():
        done = {json.loads(line)["case"] for line in given.out.read_text(encoding="utf-8").splitlines()}
    wanted = [c for c in cases() if given.part in c.program.part and given.only in c.name and c.seed in given.seeds]
    wanted = wanted[:: given.slice]
    began = time.perf_counter()
    for i, case in enumerate(wanted):
        if case.name not in done:
            line = ran(case, given.traces)
            with given.out.open("a", encoding="utf-8") as f:
                f.write(json.dumps(line, allow_nan=False, ensure_ascii=False) + "\n")
            print(f"{i + 1}/{len(wanted)} {case.name} {line['seconds']} s {[f[0] for f in line['findings']][:3]}")
    print(f"{len(wanted)} cases, {time.perf_counter() - began:.0f} s")


if __name__ == "__main__":
    main()
