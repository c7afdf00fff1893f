"""The learning curve: equal courses of training on fewer rows, and with augmentation."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from .. import metrics, rng
from .. import techniques as T
from ..errors import EquipoiseError
from ..feed import Schedule
from ..plan import Member, Options
from ..probe import Sizes
from ..recipe import Recipe
from ..technique import Technique
from ..training import train_members
from .course import Course

if TYPE_CHECKING:
    from ..data import Data

SEEDS = 3
LEAST = 8  # fit rows of which a quarter can be taken


def augmented(recipe: Recipe, data: Data) -> tuple[Recipe, Technique]:
    """The recipe with an augmentation that it does not have yet: small motions of images, else MixUp, else noise."""
    candidates: list[Technique] = [T.RandomAffine()] if data.kind == "image" else []
    for entry in [*candidates, T.MixUp(0.2), T.GaussianNoise()]:
        if not any(type(t) is type(entry) for t in recipe):
            try:
                return recipe.plus(entry), entry
            except EquipoiseError:  # it excludes an entry of the recipe: that one stays
                continue
    raise EquipoiseError("sizes: the recipe leaves no room for an augmentation to compare more data with; ask without.")


def trained_sizes(model: Any, recipe: Recipe, data: Data, course: Course, options: Options) -> Sizes:
    """Per-example losses on `stop` of the four arms, on three paired seeds. A course has whole epochs of all rows, at
    least ``course.steps`` steps; on fewer rows so many more epochs that it has as many steps."""
    fit = data.rows["fit"]
    if len(fit) < LEAST or len(data.rows["stop"]) < 2:
        raise EquipoiseError(f"sizes: {len(fit)} fit rows came; a learning curve needs {LEAST}, and two stop rows.")
    per_epoch = lambda rows: len(Schedule(1, course.batch_size).batches(rows))  # noqa: E731
    steps = course.schedule(len(fit)).epochs * per_epoch(len(fit))
    with_more, entry = augmented(recipe, data)
    metric = metrics.primary(data.task)

    def losses(r: Recipe, divide: int) -> torch.Tensor:
        """(seeds, stop rows); the rows of a quarter are among those of a half."""
        schedule = Schedule(-(-steps // per_epoch(len(fit) // divide)), course.batch_size, course.shuffle)
        seeds = [course.seed + i for i in range(SEEDS)]
        orders = [rng.permutation(s, "sizes", len(fit)).to(fit.device)[: len(fit) // divide] for s in seeds]
        members = [Member(r, s, fit[o.sort().values]) for s, o in zip(seeds, orders, strict=True)]
        runs = train_members(model, members, data, schedule, options)
        return torch.stack([torch.as_tensor(run.per_example("stop", metric)) for run in runs])

    return Sizes(losses(recipe, 4), losses(recipe, 2), losses(recipe, 1), losses(with_more, 2), entry)
