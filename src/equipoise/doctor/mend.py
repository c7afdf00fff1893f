"""Does what the doctor proposes mend the set-up? A rerun on paired seeds decides, not the proposal."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from .. import metrics, probes, stats
from ..errors import EquipoiseError
from ..feed import Schedule
from ..plan import Member, Options
from ..probe import Finding
from ..recipe import Recipe, resolve
from ..technique import Technique, slot_of
from ..training import train_members

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

    @property
    def remedy(self) -> bool:
        return self.low > 0

    def to_dict(self) -> dict[str, Any]:
        return {"gap_closed": self.gap_closed, "low": self.low, "high": self.high, "seeds": self.seeds}


def with_proposals(recipe: Recipe, findings: Sequence[Finding]) -> Recipe:
    """The recipe with what the findings propose that no other finding explains, first causes first: one entry per slot,
    conflicts left out."""
    taken: set[str] = set()
    found = {f.probe for f in findings}
    causes = [f for f in findings if not found & set(probes.find(f.probe).follows)]
    for entry in (t for f in causes for t in f.proposed):
        place = slot_of(entry) or entry.key
        if place not in taken:
            try:
                recipe = _replaced(recipe, entry)
                taken.add(place)
            except EquipoiseError:  # it excludes an entry of the recipe: that one stays
                continue
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


def mend(
    model: Any, recipe: Recipe, findings: Sequence[Finding], data: Data, schedule: Schedule, seed: int, options: Options
) -> Mended | None:
    """Train the set-up as given and with the proposed entries on paired seeds; None where nothing is proposed."""
    proposed = with_proposals(recipe, findings)
    if proposed == recipe:
        return None
    metric = metrics.primary(data.task)
    losses = []
    for r in (recipe, proposed):
        members = [Member(resolve(r, data.task), seed + i) for i in range(SEEDS)]
        runs = train_members(model, members, data, schedule, options)
        losses.append([run.score("stop")[metric] for run in runs])
    return Mended(proposed, *closed(*losses), SEEDS)
