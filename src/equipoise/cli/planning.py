"""`equipoise study --plan` and `--budget`: what a study costs and could detect, before anything is trained."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from . import setting, show

if TYPE_CHECKING:
    from ..plan import Options
    from ..study.costs import Costs
    from ..study.planned import StudyPlan


@dataclass(frozen=True)
class Arranged:
    """A study as it will be run: its plan, half-splits and costs, and what to tell before it starts."""

    plan: StudyPlan
    splits: int
    costs: Costs
    warnings: list[str]
    budget: list[str]

    def lines(self) -> list[str]:
        from ..study.costs import told

        notes = [f"note: {n}" for n in self.plan.left_out]
        warnings = [f"warning: {w}" for w in self.warnings]
        return [*notes, *warnings, *self.budget, *self.costs.lines(), told(self.plan.costs)]


def arranged(s: setting.Setting, flags: dict[str, Any], options: Options) -> Arranged:
    """The plan that the flags ask for, or with --budget the largest that fits it."""
    from ..feed import Schedule
    from ..study import prepare
    from ..study.budget import MOST_SEEDS, seconds_of, within
    from ..study.costs import by_technique, fullest, priced, sizes
    from ..study.planned import risks
    from ..study.probing import measured

    budget = None if flags.get("budget") is None else seconds_of(flags["budget"])
    seeds = flags["seeds"]
    blocks = 3 if seeds is None else seeds
    plan = prepare(s.model, s.recipe, s.data, flags["techniques"], seeds=blocks, lr=flags["lr"], seed=flags["seed"])
    schedule, splits = Schedule(s.epochs, flags["batch_size"]), 0 if flags["no_trade"] else 2
    warnings = risks(plan, s.model, s.data, flags["batch_size"], options)
    step = measured(s.model, fullest(plan), s.data, schedule, options, plan.design.configurations * len(plan.rates))
    size = sizes(s.data, schedule)
    plan.costs = by_technique(plan, s.data, s.model, schedule, options)
    if budget is None:
        return Arranged(plan, splits, priced(plan, size, step, splits), warnings, [])
    choice = within(budget, plan, size, step, splits, MOST_SEEDS if seeds is None else seeds)
    return Arranged(choice.plan, choice.splits, choice.costs, warnings, choice.lines(budget))


def plan_command(data: str, flags: dict[str, Any]) -> None:
    from ..study.costs import checklist
    from ..study.planned import primary_metric

    s = setting.resolved(data, flags)
    primary_metric(s.data, flags["metric"])
    found = arranged(s, flags, setting.options(flags))
    decided = checklist(found.plan, s.data, s.model, s.epochs)
    if flags["json_"]:
        beside = {"checklist": decided, "warnings": found.warnings, "notes": found.plan.left_out}
        show.emit_json({**found.costs.to_dict(), **beside, "budget": found.budget, "techniques": found.plan.costs})
    else:
        show.lines(["The problem, as it is set up:", *(f"  {k}: {v}" for k, v in decided.items()), *found.lines()])
