"""What a study costs and could detect, before anything is trained; and the checklist of setting up a problem."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from ..feed import Schedule
from ..plan import Options
from .planning import precision

if TYPE_CHECKING:
    from ..data import Data
    from .planned import StudyPlan

CONFIRMING = 20  # runs: two recipes on ten fresh seeds
PROBE = 3  # steps timed for the estimate


@dataclass(frozen=True)
class Costs:
    """Runs, run-steps, an estimate of seconds and memory, and the minimum detectable effect in run-to-run standard
    deviations σ of the primary metric (power .80, Holm's first step), the example part left out."""

    design: str
    configurations: int
    resolution: str
    seeds: int
    rates: int
    runs: int
    run_steps: int
    seconds: float
    megabytes: float
    detectable: float
    half_width: float

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    def lines(self) -> list[str]:
        return [
            f"plan: {self.design}, {self.configurations} configurations × {self.seeds} seeds"
            f" × {self.rates} rate{'s' if self.rates > 1 else ''} + half-splits + confirmation = {self.runs} runs,"
            f" {self.run_steps:,} run-steps, about {self.seconds:.0f} s if run eagerly one by one,"
            f" {self.megabytes:.0f} MB; resolution {self.resolution}",
            f"plan: an effect of {self.detectable:.2f} σ is found with probability .80"
            f" (σ: run-to-run standard deviation); the 95 % interval will be"
            f" ± {self.half_width:.2f} σ, plus the part of the assessment examples",
        ]


def costs(
    plan: StudyPlan, data: Data, model: Any, epochs: int, batch_size: int, options: Options, splits: int
) -> Costs:
    """From the design, and the time of a few steps of one run (on a copy; nothing is kept)."""
    steps = epochs * len(Schedule(epochs, batch_size).batches(len(data.rows["fit"])))
    half = epochs * len(Schedule(epochs, batch_size).batches(max(len(data.rows["fit"]) // 2, 1)))
    n, s, rates = plan.design.configurations, len(plan.seeds), len(plan.rates)
    halves = n * 2 * splits
    run_steps = n * s * rates * steps + halves * half + CONFIRMING * steps
    seconds, elements = _probe(plan, data, model, Schedule(epochs, batch_size), options)
    found = precision(plan.design.weights[0], s, 1.0, family=len(plan.design.weights))
    megabytes = n * s * rates * elements * 4 * 4 / 1e6
    runs = n * s * rates + halves + CONFIRMING
    return Costs(
        plan.design.name,
        n,
        plan.design.resolution,
        s,
        rates,
        runs,
        run_steps,
        seconds * run_steps,
        megabytes,
        found.mde,
        found.half_width,
    )


def _probe(plan: StudyPlan, data: Data, model: Any, schedule: Schedule, options: Options) -> tuple[float, int]:
    """Seconds of one step of one run with every technique in, and the number of parameters."""
    import time

    from ..cohort import Cohort
    from ..executor import Single
    from ..plan import Member, group
    from ..programs import make_program

    data = data.to(options.resolved_device())
    fullest = max(plan.arms, key=len)
    member = Member(fullest, plan.seeds[0])
    [(techniques, _)] = group([member])
    cohort = Cohort(make_program(model, techniques, member, data, options), [member], data, schedule, Single)
    feed = cohort.feed.steps(0, [1.0])
    now = next(feed)
    cohort.executor.step(cohort.state, cohort.const, now)
    began = time.perf_counter()
    for _ in range(PROBE):
        cohort.executor.step(cohort.state, cohort.const, now)
    return (time.perf_counter() - began) / PROBE, sum(p.numel() for p in cohort.program.net.module.parameters())


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
