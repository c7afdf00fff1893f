"""The largest study that fits a time: configurations × seeds, and what it gives up against the one asked for."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace

from ..errors import EquipoiseError
from .costs import Costs, Size, duration, priced, smaller
from .design import Design
from .factors import arm
from .planned import StudyPlan
from .probing import Step

MOST_SEEDS = 10  # seed blocks that time left over is spent on, where no number was asked for
_UNITS = {"s": 1.0, "sec": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0, "d": 86400.0}
_RANK = {"I": 1, "II": 2, "III": 3, "IV": 4, "V": 5, "VI": 6, "VII": 7, "full": 9}


@dataclass(frozen=True)
class Choice:
    """A plan that fits, its half-splits and costs, and in words what it gives up, or gains, against the plan asked."""

    plan: StudyPlan
    splits: int
    costs: Costs
    against: tuple[str, ...]

    def lines(self, budget: float) -> list[str]:
        what = "; ".join(self.against) or "gives up nothing"
        return [f"budget: {duration(self.costs.seconds)} of {duration(budget)}: {what}"]


def seconds_of(text: str) -> float:
    """``2h``, ``30m``, ``1h30m``, ``90s``, ``1.5h`` in seconds. Raises EquipoiseError for anything else."""
    parts = re.findall(r"(\d+(?:\.\d+)?)\s*([a-z]+)", text.strip().lower())
    if not parts or re.sub(r"\s", "", text.lower()) != "".join(n + u for n, u in parts) or any(
        u not in _UNITS for _, u in parts
    ):  # fmt: skip
        raise EquipoiseError(f"--budget {text}: a time such as 2h, 30m, 1h30m or 90s.")
    seconds = sum(float(n) * _UNITS[u] for n, u in parts)
    if not seconds > 0.0:
        raise EquipoiseError(f"--budget {text}: more than no time.")
    return seconds


def within(budget: float, plan: StudyPlan, size: Size, step: Step, splits: int, most_seeds: int) -> Choice:
    """The first of these that fits with at least two seed blocks, with as many as fit, ``most_seeds`` at most.

    Given up in this order: seed blocks beyond two; the half-splits that measure bias² and variance; the ladder of
    learning rates; configurations, which costs resolution. Raises EquipoiseError where nothing fits.
    """
    asked, least = priced(plan, size, step, splits), None
    for design, rates, halves in _candidates(plan, splits):
        for seeds in range(most_seeds, 1, -1):
            smallest = _with(plan, design, rates, seeds)
            least = priced(smallest, size, step, halves)
            if least.seconds <= budget:
                return Choice(smallest, halves, least, tuple(_against(plan, asked, splits, smallest, least, halves)))
    assert least is not None
    raise EquipoiseError(
        f"--budget {duration(budget)}: the smallest study, {least.configurations} configurations × {least.seeds} seeds "
        f"× {least.rates} rate{'s' * (least.rates > 1)} and its confirmation, takes about {duration(least.seconds)} "
        "here; give more time, or fewer --techniques or --epochs."
    )


def _candidates(plan: StudyPlan, splits: int) -> Iterator[tuple[Design, tuple[float, ...], int]]:
    """Designs by resolution, then size; each with and without the ladder, with and without half-splits."""
    fewer = sorted(smaller(plan.design), key=lambda d: (-_RANK[d.resolution], -d.configurations))
    ladders = dict.fromkeys((plan.rates, (1.0,)))
    for design in (plan.design, *fewer):
        for rates in ladders:
            yield from ((design, rates, halves) for halves in dict.fromkeys((splits, 0)))


def _with(plan: StudyPlan, design: Design, rates: tuple[float, ...], seeds: int) -> StudyPlan:
    arms = plan.arms if design is plan.design else [arm(plan.base, plan.asked, row) for row in design.matrix]
    blocks = [*plan.seeds, *range(max(plan.seeds) + 1, max(plan.seeds) + 1 + seeds)][:seeds]
    return replace(plan, design=design, arms=arms, seeds=blocks, rates=rates)


def _against(plan: StudyPlan, asked: Costs, splits: int, chosen: StudyPlan, costs: Costs, halves: int) -> Iterator[str]:
    before, after = len(plan.seeds), len(chosen.seeds)
    found = f"an effect of {costs.detectable:.2f} σ instead of {asked.detectable:.2f} σ is found with probability .80"
    if chosen.design is not plan.design:
        lost = len(plan.design.interactions) - len(chosen.design.interactions)
        yield (
            f"gives up {plan.design.configurations - chosen.design.configurations} of {plan.design.configurations} "
            f"configurations, so that resolution is {chosen.design.resolution} instead of {plan.design.resolution}"
            + (f" and {lost} declared interactions are not estimated" if lost else "")
        )
    if chosen.rates != plan.rates:
        yield f"gives up the ladder of {len(plan.rates)} learning rates: every arm is judged at its base rate"
    if halves != splits:
        yield "gives up bias² and variance"
    if after < before:
        yield f"gives up {before - after} of {before} seed blocks"
    elif after > before:
        yield f"has room for {after} seed blocks instead of {before}"
    if costs.detectable != asked.detectable:
        yield found
