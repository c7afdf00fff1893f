"""What a study asks, resolved: everything that its analysis needs beside the results, as JSON and back."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from .. import metrics
from ..checkpoint.asked import digest, name_of
from ..errors import EquipoiseError
from ..feed import Schedule
from ..recipe import Recipe
from ..run import versions
from ..stats import Looks
from ..training import checked_seed
from .design import Design, Factor
from .factors import Question
from .phases import Setting
from .planned import StudyPlan
from .tradeoff import half_size

if TYPE_CHECKING:
    from ..data import Data

MOST = (1 << 32) - 10_000_000  # the seeds of half-splits and confirmations start some millions beyond
TELL = {  # what is asked for → how a difference is told; {0} is the old, {1} the new
    "model": "the model was {0}, now it is {1}",
    "recipe": "the base recipe was {0}, now it is {1}",
    "factors": "the techniques were {0}, now they are {1}",
    "configurations": "the design had {0} configurations, now it has {1}",
    "seed": "the seed was {0}, now it is {1}",
    "seeds": "the seed blocks were {0}, now they are {1}",
    "looks": "the declared looks were at {0} seed blocks, now they are at {1}",
    "epochs": "epochs was {0}, now it is {1}",
    "batch_size": "batch_size was {0}, now it is {1}",
    "rates": "the learning rates were × {0}, now they are × {1}",
    "metric": "the primary metric was {0}, now it is {1}",
    "smallest": "the smallest effect of interest was {0}, now it is {1}",
    "splits": "the half-splits were {0}, now they are {1}",
    "data": "the data changed (fingerprint {0:.12}, now {1:.12})",
    "split": "the rows have other roles now (split, groups or split seed)",
}


@dataclass(frozen=True)
class Judging:
    """How the runs are judged. ``looks``: the seed blocks in hand at each declared look (None: the first ones only);
    ``splits``: random half-splits, 0 for none; ``seed``: what design, halves and fresh seeds are drawn from.
    """

    metric: str
    smallest: float | None = None
    splits: int = 2
    looks: int | Sequence[int] | None = None
    seed: int = 0

    def check(self, seeds: Sequence[int]) -> None:
        """Raises EquipoiseError for what would only fail when all is trained."""
        if self.smallest is not None and not 0.0 < self.smallest < math.inf:
            raise EquipoiseError(f"smallest={self.smallest}: the smallest effect of interest is a positive number.")
        if self.splits < 0 or self.splits == 1:
            raise EquipoiseError(f"trade_splits={self.splits}: none (0), or at least two; one shows no error.")
        declared(self.looks, len(seeds))
        for seed in (self.seed, *seeds):
            if checked_seed(seed) > MOST:
                raise EquipoiseError(f"seed={seed}: at most {MOST}, for a study draws fresh seeds beyond it.")


@dataclass(frozen=True)
class Terms:
    """``names``: metrics, the primary one first; ``half``: training size of a half; ``facts``: what it takes to repeat
    the study, for people; ``about``: how data and model are called."""

    design: Design
    base: Recipe
    asked: tuple[Question, ...]
    looks: tuple[int, ...]
    rates: tuple[float, ...]
    names: tuple[str, ...]
    smallest: float | None
    splits: int
    seed: int
    half: int
    about: dict[str, str]
    facts: dict[str, Any]
    left_out: tuple[str, ...]

    @property
    def metric(self) -> str:
        return self.names[0]

    def look(self, seeds: int) -> Looks:
        """The declared look at so many seed blocks."""
        return Looks(self.looks, self.looks.index(seeds) + 1)

    def to_dict(self) -> dict[str, Any]:
        plain = ("looks", "rates", "names", "smallest", "splits", "seed", "half", "about", "facts", "left_out")
        asked = [[q.name, [e if e is None else Recipe(e).to_list()[0] for e in q.entries]] for q in self.asked]
        fixed = {"design": self.design.describe(), "base": self.base.to_list(), "asked": asked}
        return fixed | {k: getattr(self, k) for k in plain}

    @classmethod
    def from_dict(cls, d: dict[str, Any], mine: Terms | None = None) -> Terms:
        """What `to_dict` told. ``mine``: the same question asked again, whose techniques are taken as they are: one of
        the user's own is not found by its name."""
        tuples = {k: tuple(d[k]) for k in ("looks", "rates", "names", "left_out")}
        plain = {k: d[k] for k in ("smallest", "splits", "seed", "half", "about", "facts")}
        base = Recipe.from_list(d["base"]) if mine is None else mine.base
        asked = tuple(_question(*q) for q in d["asked"]) if mine is None else mine.asked
        return cls(design=_design(d["design"]), base=base, asked=asked, **tuples, **plain)


def _question(name: str, levels: list[Any]) -> Question:
    return Question(name, tuple(None if e is None else Recipe.from_list([e])[0] for e in levels))


def _design(d: dict[str, Any]) -> Design:
    """What `Design.describe` told."""
    matrix = np.array(d["matrix"], dtype=np.int64)
    matrix.setflags(write=False)
    return Design(
        name=d["name"], resolution=d["resolution"], matrix=matrix, columns=tuple(d["columns"]), seed=d["seed"],
        factors=tuple(Factor(f["name"], tuple(f["levels"])) for f in d["factors"]), order=tuple(d["order"]),
        interactions=tuple((j, k) for j, k in d["interactions"]), coding=tuple(map(tuple, d["coding"])),
    )  # fmt: skip


def terms_of(setting: Setting, plan: StudyPlan, judging: Judging, command: str) -> Terms:
    """What is asked for, before anything is trained. Raises EquipoiseError for what would fail later."""
    judging.check(plan.seeds)
    data, known = setting.data, metrics.metrics_for(setting.data.task, setting.data.outputs)
    network = setting.model if isinstance(setting.model, str) else None
    network = network or getattr(setting.model, "__name__", type(setting.model).__name__)
    facts = {
        "versions": versions(), "fingerprint": data.fingerprint, "seed": judging.seed,
        "epochs": setting.schedule.epochs, "batch_size": setting.schedule.batch_size, "rates": list(plan.rates),
        "source": data.source, "roles": {r: len(v) for r, v in data.rows.items()},
    }  # fmt: skip
    return Terms(
        design=plan.design, base=plan.base, asked=tuple(plan.asked), rates=tuple(plan.rates),
        looks=declared(judging.looks, len(plan.seeds)), smallest=judging.smallest, splits=judging.splits,
        names=(judging.metric, *(m for m in known if m != judging.metric)), seed=judging.seed,
        half=half_size(len(data.rows["fit"]), data.groups_of("fit")), about={"data": data.name, "model": network},
        facts=facts | {k: v for k, v in (("command", command), ("costs", plan.costs)) if v},
        left_out=tuple(plan.left_out),
    )  # fmt: skip


def declared(looks: int | Sequence[int] | None, seeds: int) -> tuple[int, ...]:
    """The seed blocks in hand at each look: ``looks`` itself, or so many equally spaced; the first is ``seeds``."""
    if looks is None:
        return (seeds,)
    if isinstance(looks, int):
        if looks < 1 or isinstance(looks, bool):
            raise EquipoiseError(f"looks={looks}: at least one; or the seed blocks at each, such as 3,6,9.")
        return tuple(seeds * (i + 1) for i in range(looks))
    at = Looks(tuple(int(v) for v in looks)).seeds
    if at[0] != seeds:
        raise EquipoiseError(
            f"looks={','.join(map(str, at))} with {seeds} seed blocks: the first look is at those it starts with."
        )
    return at


def asked_for(setting: Setting, plan: StudyPlan, terms: Terms) -> dict[str, Any]:
    """Everything that decides the result, in a form that can be compared when the study goes on."""
    data: Data = setting.data
    schedule: Schedule = setting.schedule
    factors = [asdict(q.factor) for q in plan.asked]
    return {
        "model": name_of(setting.model), "recipe": plan.base.to_list(),
        "factors": [f"{f['name']}: {' | '.join(f['levels'])}" for f in factors],
        "configurations": plan.design.configurations, "seed": terms.seed, "seeds": list(plan.seeds),
        "looks": list(terms.looks), "epochs": schedule.epochs, "batch_size": schedule.batch_size,
        "rates": list(plan.rates), "metric": terms.metric, "smallest": terms.smallest, "splits": terms.splits,
        "data": data.fingerprint, "split": digest(data.split_dict()),
    }  # fmt: skip
