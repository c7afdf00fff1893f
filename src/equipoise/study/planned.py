"""A study before anything is trained: the question resolved into a design and its arms."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from .. import metrics
from ..errors import EquipoiseError
from ..plan import Member, Options, group
from ..programs import make_program
from ..recipe import Recipe, resolve
from ..reference import reference_recipe
from ..risks import warnings_for
from .design import Design, Factor, make_design
from .execute import LADDER
from .factors import Question, arm, base_of, declared, default_questions, feasible, questions

if TYPE_CHECKING:
    from ..data import Data


@dataclass
class StudyPlan:
    """A study before anything is trained. ``costs``: what each technique costs by itself, where that was measured
    (`costs.by_technique`)."""

    asked: list[Question]
    base: Recipe
    design: Design
    arms: list[Recipe]
    seeds: list[int]
    rates: tuple[float, ...]
    left_out: list[str]
    costs: list[dict[str, Any]] = field(default_factory=list)


def prepare(
    model: Any,
    recipe: Any,
    data: Data,
    techniques: Any,
    *,
    seeds: int | Sequence[int] = 3,
    lr: str = "ladder",
    configurations: int | None = None,
    seed: int = 0,
) -> StudyPlan:
    """Resolve the question into a design and its arms; refuses what cannot be run."""
    if lr not in ("ladder", "fixed"):
        raise EquipoiseError(f"lr={lr!r}: 'ladder' or 'fixed'.")
    seeds = [seed + i for i in range(seeds)] if isinstance(seeds, int) else list(seeds)
    if len(seeds) < 2 or len(set(seeds)) < len(seeds):
        raise EquipoiseError(
            f"seeds={seeds}: at least two different seed blocks; without repetition there is no error to judge by."
        )
    resolved = resolve(recipe, data.task, default=reference_recipe(model))
    explicit = techniques is not None
    asked = questions(techniques) if explicit else default_questions(data)
    asked, left_out = feasible(resolved, asked, data, explicit)
    base = base_of(resolved, asked)
    factors, pairs = [q.factor for q in asked], tuple(declared(asked))
    if configurations is None:
        design = make_design(factors, interactions=pairs, seed=seed)
    else:
        design = fewer(factors, pairs, configurations, seed)
        lost = [f"{asked[j].name}×{asked[k].name}" for j, k in pairs if (j, k) not in design.interactions]
        if lost:
            left_out.append(
                f"not estimated, as {configurations} configurations cannot tell them apart: {', '.join(lost)}"
            )
    arms = [arm(base, asked, row) for row in design.matrix]
    return StudyPlan(asked, base, design, arms, seeds, LADDER if lr == "ladder" else (1.0,), left_out)


def fewer(factors: Sequence[Factor], pairs: tuple[tuple[int, int], ...], configurations: int, seed: int) -> Design:
    """A design in so many configurations; interactions that it cannot tell apart are no longer declared."""
    try:
        return make_design(factors, interactions=pairs, configurations=configurations, seed=seed)
    except EquipoiseError:
        return make_design(factors, configurations=configurations, seed=seed)


def risks(plan: StudyPlan, model: Any, data: Data, batch_size: int, options: Options) -> list[str]:
    """What is known to hurt in the base, with each factor's level alone, and with several together, each said once."""
    data = data.to(options.resolved_device())
    alone = [(r, single(plan, k, level)) for k, level, r in levels(plan)]
    recipes = [("the base", plan.base), *((f"with {r}", a) for r, a in alone), *(("together", a) for a in plan.arms)]
    members = [Member(recipe, 0) for _, recipe in recipes]
    found: dict[str, str] = {}
    for techniques, indices in group(members):
        net = make_program(model, techniques, members[indices[0]], data, options).net
        for i in indices:
            for text in warnings_for(recipes[i][1], data, net, batch_size):
                found.setdefault(text, recipes[i][0])
    return [f"{where}: {text}" for text, where in found.items()]


def levels(plan: StudyPlan) -> list[tuple[int, int, str]]:
    """(factor, level, name of its effect) of every effect."""
    return [(k, level, row) for k, q in enumerate(plan.asked) for level, row in enumerate(q.factor.rows, 1)]


def single(plan: StudyPlan, k: int = 0, level: int = 0) -> Recipe:
    """The arm with factor ``k`` at ``level`` and the others off."""
    return arm(plan.base, plan.asked, [level if i == k else 0 for i in range(len(plan.asked))])


def primary_metric(data: Data, metric: str | None = None) -> str:
    """The metric a study judges by: ``metric``, or the task's primary one."""
    metric = metric or metrics.primary(data.task)
    known = metrics.metrics_for(data.task, data.outputs)
    if metric not in known:
        raise EquipoiseError(f"metric {metric!r}: for this data one of {', '.join(known)}.")
    return metric
