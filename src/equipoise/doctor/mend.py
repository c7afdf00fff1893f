"""Does what the doctor proposes mend the set-up? A rerun on paired seeds decides, not the proposal."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from .. import metrics, probes, stats
from ..errors import EquipoiseError
from ..plan import Member, Options, group
from ..probe import Finding
from ..programs import make_program
from ..recipe import Recipe, resolve
from ..technique import Technique, slot_of
from ..training import train_members
from .course import Course

if TYPE_CHECKING:
    from ..data import Data

SEEDS = 3
TINY = 1e-12


@dataclass(frozen=True)
class Mended:
    """1 − L_mended/L_given on `stop`, the geometric mean over paired seeds with its 95 % interval (paired t of ln L):
    the gap is the whole loss, as nobody knows a healthy twin. ``remedy``: the interval lies above 0."""

    recipe: Recipe
    gap_closed: float
    low: float
    high: float
    seeds: int
    course: Mapping[str, Any] = field(default_factory=dict)  # what was changed that is no recipe entry

    @property
    def remedy(self) -> bool:
        return self.low > 0

    def to_dict(self) -> dict[str, Any]:
        return {"gap_closed": self.gap_closed, "low": self.low, "high": self.high, "seeds": self.seeds}


def first_causes(findings: Sequence[Finding]) -> list[Finding]:
    """The findings that no other one explains."""
    found = {f.probe for f in findings}
    return [f for f in findings if not found & set(probes.find(f.probe).follows)]


def with_proposals(
    recipe: Recipe, findings: Sequence[Finding], check: Callable[[Recipe], object] = lambda _: None
) -> Recipe:
    """The recipe with what the findings propose that no other finding explains, first causes first: one entry per slot,
    conflicts left out. ``check`` raises EquipoiseError for a recipe that the network or the data refuse."""
    taken: set[str] = set()
    for entry in (t for f in first_causes(findings) for t in f.proposed):
        place = slot_of(entry) or entry.key
        if place not in taken:
            try:
                changed = _replaced(recipe, entry)
                check(changed)
            except EquipoiseError:  # it excludes an entry of the recipe, or a layer of the network: that one stays
                continue
            recipe = changed
            taken.add(place)
    return recipe


def _replaced(recipe: Recipe, entry: Technique) -> Recipe:
    """With ``entry``; another normalization at the same sites makes room."""
    if entry.slot == "normalization":
        recipe = Recipe(*(t for t in recipe if t.slot != "normalization"))
    return recipe.plus(entry)


def closed(given: Sequence[float], mended: Sequence[float]) -> tuple[float, float, float]:
    """1 − exp(mean ln(mended/given)) and the ends of its 95 % interval, from paired losses."""
    a, b = (np.log(np.maximum(np.asarray(v, dtype=np.float64), TINY)) for v in (mended, given))
    if np.array_equal(a, b):
        return 0.0, 0.0, 0.0
    found = stats.paired_t(a, b)
    return 1 - math.exp(found.mean), 1 - math.exp(found.high), 1 - math.exp(found.low)


def _made(model: Any, recipe: Recipe, data: Data, options: Options) -> None:
    """Raises EquipoiseError where no program can be made of it."""
    member = Member(resolve(recipe, data.task), 0)
    [(techniques, _)] = group([member])
    make_program(model, techniques, member, data.to(options.resolved_device()), options)


def mend(
    model: Any, recipe: Recipe, findings: Sequence[Finding], data: Data, course: Course, options: Options
) -> Mended | None:
    """Train the set-up as given and with what is proposed on paired seeds; None where nothing is proposed."""
    proposed = with_proposals(recipe, findings, lambda r: _made(model, r, data, options))
    changes = {k: v for f in first_causes(findings) for k, v in f.course.items()}
    if proposed == recipe and not changes:
        return None
    metric = metrics.primary(data.task)
    losses = []
    for r, c in ((recipe, course), (proposed, course.changed(changes))):
        members = [Member(resolve(r, data.task), course.seed + i) for i in range(SEEDS)]
        runs = train_members(model, members, data, c.schedule(len(data.rows["fit"])), options)
        losses.append([run.score("stop")[metric] for run in runs])
    return Mended(proposed, *closed(*losses), SEEDS, changes)
