"""What a study costs and could detect, before anything is trained; and the checklist of setting up a problem."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import asdict, dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from ..errors import EquipoiseError
from ..feed import Schedule
from ..metrics import metrics_for
from ..plan import Options
from .design import Design
from .planned import StudyPlan, fewer, levels, single
from .planning import precision
from .probing import Step, alone

if TYPE_CHECKING:
    from ..data import Data

CONFIRMING = 20  # runs: two recipes on ten fresh seeds
LONG = 3600.0  # seconds of a study beyond which a screening is offered
CONFIGURATIONS = (8, 12, 16, 24)  # of smaller designs
ALIASED = {
    "III": "main effects aliased with interactions",
    "IV": "interactions aliased with one another",
    "V": "interactions of two clear of one another",
}


@dataclass(frozen=True)
class Size:
    """How large a study is: the steps of one run on all fit rows and of one on half of them, and its other counts."""

    steps: int
    half_steps: int
    epochs: int
    scores: int  # numbers kept per run: metrics × assess rows
    data: int  # bytes


@dataclass(frozen=True)
class Screening:
    """A smaller design of the same factors, and what its runs take."""

    configurations: int
    resolution: str
    seconds: float

    def __str__(self) -> str:
        article = "an" if self.configurations == 8 else "a"
        what = f"{article} {self.configurations}-run screening {duration(self.seconds)}"
        return f"{what}, resolution {self.resolution}: {ALIASED.get(self.resolution, ALIASED['V'])}"


@dataclass(frozen=True)
class Costs:
    """Runs, run-steps, an estimate of seconds and memory, and the minimum detectable effect in run-to-run standard
    deviations σ of the primary metric (power .80, Holm's first step), the example part left out.

    ``seconds`` of all runs, eagerly; ``run_seconds`` of one run; ``megabytes`` at the peak: the data, the stack in
    training, the scores of all runs. ``screening``: configurations, resolution
    and seconds of the design's runs in a smaller design; None where there is none.
    """

    design: str
    configurations: int
    resolution: str
    seeds: int
    rates: int
    runs: int
    halves: int
    run_steps: int
    seconds: float
    run_seconds: float
    megabytes: float
    stack: int
    detectable: float
    half_width: float
    screening: Screening | None

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    def lines(self) -> list[str]:
        rates = f" × {self.rates} rates" if self.rates > 1 else ""
        halves = f" + {self.halves} on halves" if self.halves else ""
        together = f"in stacks of {self.stack}" if self.stack > 1 else "one by one"
        resolution = "every combination" if self.resolution == "full" else f"resolution {self.resolution}"
        return [
            f"plan: {self.design}, {resolution}: {self.configurations} configurations × {self.seeds} "
            f"seeds{rates}{halves} + {CONFIRMING} to confirm = {self.runs} runs, {self.run_steps:,} run-steps",
            f"plan: about {duration(self.seconds)} in all if run eagerly, {together} (compiling, where "
            f"it repays, takes less), and {_size(self.megabytes)} at the peak",
            self.product(),
            f"plan: an effect of {self.detectable:.2f} σ is found with probability .80"
            f" (σ: run-to-run standard deviation); the 95 % interval will be"
            f" ± {self.half_width:.2f} σ, plus the part of the assessment examples",
        ]

    def product(self) -> str:
        """The design's runs as a product; of a long study also what a screening would cost."""
        rates, one = self.rates, duration(self.run_seconds)
        design = self.configurations * self.seeds * rates * self.run_seconds
        factors = [str(self.configurations), str(self.seeds), *([str(rates)] if rates > 1 else []), one]
        line = f"plan: {' × '.join(factors)} = {duration(design)}"
        if self.seconds < LONG:
            return f"{line} of the design's runs"
        if rates > 1:
            line += f"; at one fixed rate {duration(design / rates)}"
        return f"{line}; {self.screening}" if self.screening else line


def by_technique(plan: StudyPlan, data: Data, model: Any, schedule: Schedule, options: Options) -> list[dict[str, Any]]:
    """What every technique costs by itself: seconds and peak bytes of one run's step with it, and without any.

    In a study, runs with and without a technique share one program, so that its own cost cannot be told from theirs.
    """
    base_seconds, base = alone(model, single(plan), data, schedule, options)
    rows = []
    for k, level, row in levels(plan):
        seconds, footprint = alone(model, single(plan, k, level), data, schedule, options)
        at = {"step seconds on": seconds, "step seconds off": base_seconds}
        rows.append({"technique": row, **at, "bytes on": footprint.alone, "bytes off": base.alone})
    return rows


def told(rows: list[dict[str, Any]]) -> str:
    """One line of `by_technique`."""
    ratio = lambda r, of: f"× {r[f'{of} on'] / r[f'{of} off']:.2f}"  # noqa: E731
    each = [f"{r['technique']} {ratio(r, 'step seconds')} time, {ratio(r, 'bytes')} memory" for r in rows]
    return f"plan: a step of one run alone, against all off: {'; '.join(each)}"


def fullest(plan: StudyPlan) -> Any:
    """The arm with the most techniques in it: no run costs more."""
    return max(plan.arms, key=len)


def sizes(data: Data, schedule: Schedule) -> Size:
    rows = len(data.rows["fit"])
    whole, half = (len(schedule.batches(n)) * schedule.epochs for n in (rows, max(rows // 2, 1)))
    scores = len(metrics_for(data.task, data.outputs)) * len(data.rows["assess"])
    held = sum(t.numel() * t.element_size() for t in (*data.inputs, data.y))
    return Size(whole, half, schedule.epochs, scores, held)


def priced(plan: StudyPlan, size: Size, step: Step, splits: int) -> Costs:
    """The price of a plan, from the measured step: seconds = run-steps × time of a step + epochs × time to score."""
    n, s, rates = plan.design.configurations, len(plan.seeds), len(plan.rates)
    halves = n * 2 * splits
    whole = n * s * rates + CONFIRMING
    run_steps = whole * size.steps + halves * size.half_steps
    scoring = size.epochs * step.scoring
    found = precision(plan.design.weights[0], s, 1.0, family=len(plan.design.weights))
    kept = n * s * rates * 8 * size.scores
    run_seconds = size.steps * step.seconds + scoring
    small = next(iter(smaller(plan.design)), None)
    return Costs(
        design=plan.design.name,
        configurations=n,
        resolution=plan.design.resolution,
        seeds=s,
        rates=rates,
        runs=whole + halves,
        halves=halves,
        run_steps=run_steps,
        seconds=run_steps * step.seconds + (whole + halves) * scoring,
        run_seconds=run_seconds,
        megabytes=(size.data + step.memory + kept) / 1e6,
        stack=step.stack,
        detectable=found.mde,
        half_width=found.half_width,
        screening=small
        and Screening(small.configurations, small.resolution, small.configurations * s * rates * run_seconds),
    )


@lru_cache(maxsize=16)
def smaller(design: Design) -> tuple[Design, ...]:
    """Designs of the same factors in fewer configurations, the smallest first (``fewer``)."""
    found = []
    for n in (n for n in CONFIGURATIONS if n < design.configurations):
        with suppress(EquipoiseError):
            found.append(fewer(design.factors, design.interactions, n, design.seed))
    return tuple(found)


def duration(seconds: float) -> str:
    """45 s, 12 min, 1.5 h, 32 h."""
    if seconds < 60.0:
        return f"{seconds:.2g} s" if seconds < 9.95 else f"{seconds:.0f} s"
    if seconds < 3600.0:
        return f"{seconds / 60.0:.3g} min"
    hours = seconds / 3600.0
    return f"{hours:.3g} h" if hours < 1000.0 else f"{hours:,.0f} h"


def _size(megabytes: float) -> str:
    if megabytes >= 1e3:
        return f"{megabytes / 1e3:.3g} GB"
    return f"{megabytes:.2g} MB" if megabytes < 9.95 else f"{megabytes:.0f} MB"


def checklist(plan: StudyPlan, data: Data, model: Any, epochs: int) -> dict[str, str]:
    """Deck D2's list of what to decide, with what was chosen (CATALOGUE L)."""
    base = plan.base
    name = lambda slot: repr(base.holder(slot)) if base.holder(slot) else "none"  # noqa: E731
    targets = "class probabilities" if data.task == "classify" else name("targets")
    regularizers = [repr(t) for t in base.active() if t.slot is None]
    return {
        "data": f"{data!r}; inputs {name('inputs')}, targets {targets}",
        "architecture": str(model),
        "divergence": name("objective"),
        "regularization": ", ".join(regularizers) or "none in the base",
        "heuristics under study": ", ".join(q.name for q in plan.asked),
        "optimizer and schedule": f"{name('optimizer')}, {name('schedule')}",
        "grid search on held-out data": f"learning rates × {', '.join(f'{r:g}' for r in plan.rates)} chosen on `stop`",
        "training": f"{epochs} epochs, evaluated after each on `stop`; stopping rule: {name('stop')}",
    }
