"""`doctor`: from a set-up to its diagnosis."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .. import probes, schemas
from ..cohort import Cohort
from ..files import write_text
from ..plan import Member, Options, group, threads
from ..probe import Finding, Measure, Sizes, Trace
from ..programs import make_program
from ..recipe import Recipe, resolve
from ..reference import reference_recipe
from .chart import Chart, chart_of
from .course import Course
from .mend import Mended, first_causes, mend
from .sizes import trained_sizes
from .watch import Watched, Watcher

if TYPE_CHECKING:
    from ..data import Data


@dataclass(frozen=True)
class Diagnosis:
    """Findings, first causes first (none: nothing is wrong), and every measure."""

    findings: tuple[Finding, ...]
    measures: tuple[Measure, ...]
    steps: int
    seconds: float
    recipe: Recipe
    chart: Chart
    about: Mapping[str, Any]  # data, model, course: what was judged
    mended: Mended | None = None

    @property
    def ok(self) -> bool:
        return not self.findings

    def report(self, path: str | Path) -> Path:
        """Write the self-contained HTML page: to ``path``, or to ``doctor.html`` in it where it is a folder."""
        from ..report.diagnosis import diagnosis_page

        path = Path(path)
        path = path / "doctor.html" if path.is_dir() else path
        write_text(path, diagnosis_page(self))
        return path

    def to_dict(self) -> dict[str, Any]:
        """The JSON of CONTRACT §11; numbers that are not finite are null."""
        out: dict[str, Any] = {
            "schema": schemas.identifier("doctor"),
            "findings": [
                {
                    "probe": f.probe, "severity": f.severity, "where": f.where, "value": _finite(f.value),
                    "threshold": _finite(f.threshold), "why": f.why, "proposed": Recipe(*f.proposed).to_list(),
                    "source": f.source,
                }
                for f in self.findings
            ],
            "measures": [
                m.to_dict() | {"value": _finite(m.value), "threshold": _finite(m.threshold)} for m in self.measures
            ],
            "steps": self.steps,
            "seconds": self.seconds,
        }  # fmt: skip
        if self.mended is not None:
            out["mended"] = {k: _finite(v) if k != "seeds" else v for k, v in self.mended.to_dict().items()}
        return out


def doctor(
    model: Any,
    recipe: Any,
    data: Data,
    *,
    steps: int = 200,
    seed: int = 0,
    batch_size: int = 64,
    shuffle: str = "each",
    sizes: bool = False,
    fix: bool = False,
    options: Options = Options(),
) -> Diagnosis:
    """Train a set-up for a few steps, measure everything, and tell what is wrong, why, and what mends it.

    model, recipe, data: as for `train`; the set-up is judged as given. steps ≥ 1 of training, with the recipe's
    schedule over that many steps; the probes look at step 0, after a few steps, every 50, halfway and at the end, on up
    to 512 fit rows, and change nothing: the training is bit for bit that of `train`. shuffle: the order of the fit rows
    that is judged, as for `train` ("each" epoch, "once", "never"). sizes: train on a quarter and half of the fit rows
    too, and with augmentation, three paired seeds each: would more data pay, and more than augmentation? fix: train the
    set-up as given and with what is proposed on three paired seeds, and tell how much of the loss on `stop` goes.

    Returns a `Diagnosis`: `findings` (empty where nothing is wrong), `measures` (always all), `ok`, `to_dict()`,
    `report(path)`.
    Raises EquipoiseError for bad input. Trains on fit and evaluates on stop; of assess and test it reads inputs only.
    """
    course = Course(steps, seed, batch_size, shuffle)
    recipe = resolve(recipe, data.task, default=reference_recipe(model))
    return diagnose(model, recipe, data, course, options, sizes=sizes, fix=fix)


def diagnose(
    model: Any,
    recipe: Recipe,
    data: Data,
    course: Course,
    options: Options = Options(),
    *,
    sizes: bool = False,
    fix: bool = False,
) -> Diagnosis:
    """The diagnosis of a resolved recipe over a given course."""
    began = time.perf_counter()
    data = data.to(options.resolved_device())
    trained = trained_sizes(model, recipe, data, course, options) if sizes else None
    trace = traced(model, recipe, data, course, options, trained)
    findings, measures = judged(trace)
    mended = None
    if fix and findings:
        mended = mend(model, recipe, findings, data, course, options)
    seconds = time.perf_counter() - began
    about = {
        "data": data.name, "model": _name(model), "batch size": course.batch_size,
        "rows shuffled": course.shuffle, "seed": course.seed,
    }  # fmt: skip
    return Diagnosis(
        tuple(findings), tuple(measures), course.steps, seconds, recipe, chart_of(trace), about, mended
    )  # fmt: skip


def judged(trace: Trace) -> tuple[list[Finding], list[Measure]]:
    """What all probes make of a trace: findings, those that no other one explains first, and every measure."""
    findings, measures = list[Finding](), list[Measure]()
    for probe in probes.every():
        mine = probe.measure(trace)
        measures += mine
        findings += probe.judge(mine, trace)
    causes = first_causes(findings)
    return [*causes, *(f for f in findings if f not in causes)], measures


def traced(
    model: Any, recipe: Recipe, data: Data, course: Course, options: Options, sizes: Sizes | None = None
) -> Trace:
    """The instrumented training."""
    threads(options)
    member = Member(recipe, course.seed)
    ((techniques, _),) = group([member])
    program = make_program(model, techniques, member, data, options)
    cohort = Cohort(program, [member], data, course.schedule(len(data.rows["fit"])), Watched)
    return Watcher(cohort, course.steps, course.seed).trace(sizes)


def _name(model: Any) -> str:
    return model if isinstance(model, str) else getattr(model, "__qualname__", type(model).__qualname__)


def _finite(v: float | None) -> float | None:
    return v if v is not None and math.isfinite(v) else None
