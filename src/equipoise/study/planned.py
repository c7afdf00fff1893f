"""A study before anything is trained: the question resolved into a design and its arms."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from .. import metrics
from ..errors import EquipoiseError
from ..recipe import Recipe, resolve
from ..reference import reference_recipe
from .design import Design, make_design
from .execute import LADDER
from .factors import Question, arm, base_of, declared, default_questions, feasible, questions

if TYPE_CHECKING:
    from ..data import Data


@dataclass
class StudyPlan:
    """A study before anything is trained."""

    asked: list[Question]
    base: Recipe
    design: Design
    arms: list[Recipe]
    seeds: list[int]
    rates: tuple[float, ...]
    left_out: list[str]


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
    design = make_design(
        [q.factor for q in asked], interactions=declared(asked), configurations=configurations, seed=seed
    )
    arms = [arm(base, asked, row) for row in design.matrix]
    return StudyPlan(asked, base, design, arms, seeds, LADDER if lr == "ladder" else (1.0,), left_out)


def primary_metric(data: Data, metric: str | None = None) -> str:
    """The metric a study judges by: ``metric``, or the task's primary one."""
    metric = metric or metrics.primary(data.task)
    known = metrics.metrics_for(data.task, data.outputs)
    if metric not in known:
        raise EquipoiseError(f"metric {metric!r}: for this data one of {', '.join(known)}.")
    return metric
