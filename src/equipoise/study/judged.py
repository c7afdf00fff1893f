"""From what a store holds to what a study says: no model and no data are needed, and the same store says the same."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ..errors import EquipoiseError
from ..recipe import Recipe
from ..stats import Looks, interval
from . import rates as ladder
from .effects import Effects, effects, failures, grouped
from .execute import halved
from .factors import arm
from .phases import CONFIRM, DESIGN, HALVES, Trained, collected
from .recommend import Confirmation, Recommendation, confirm, recommend
from .store import Key, Result, Store
from .terms import Terms
from .tradeoff import FORMS, TradeRow, trade

Array = np.ndarray[Any, Any]
HALVES_FROM = 2_000_000  # seeds of the half-splits start this far from the study's


@dataclass(frozen=True)
class Judged:
    """The design's runs, judged. ``chosen``: (N, S) the cross-fitted rate of every arm and seed, as an index;
    ``scores``: metric → (N, S, n) at it, groups of examples in their place; ``levels``: of the candidate."""

    trained: Trained
    seeds: list[int]
    looks: Looks
    chosen: Array
    scores: dict[str, Array]
    found: Effects
    choice: Recommendation
    candidate: Recipe
    baseline: Recipe
    differ: bool  # is there anything to confirm?

    @property
    def often(self) -> list[int]:
        """The rate chosen most often, per arm."""
        return [int(np.bincount(row).argmax()) for row in self.chosen]


def judged(store: Store, terms: Terms) -> Judged:
    """Effects and recommendation from the design's runs."""
    seeds, design, rates = store.fact("seeds"), terms.design, terms.rates
    results = store.results(DESIGN)
    trained = collected(results, design.configurations, seeds, rates, terms.names)
    many, looks = len(rates) > 1, terms.look(len(seeds))
    shape = (design.configurations, len(seeds))
    chosen = ladder.cross_fitted(design, trained.stop, rates) if many else np.zeros(shape, dtype=int)
    merged = _grouping(store, "assess")
    scores = {m: merged(ladder.at_rate(v, chosen)) for m, v in trained.scores.items()}
    declared = looks if len(looks.seeds) > 1 else None
    unit = "examples" if store.array("groups assess") is None else "groups"
    found = effects(
        design, scores, primary=terms.metric, smallest=terms.smallest, looks=declared, unit=unit,
        fallback=ladder.at_rate(trained.failed | trained.capped, chosen),
    )  # fmt: skip
    choice = recommend(design, scores[terms.metric], found)
    levels = np.array([choice.levels, [0] * len(terms.asked)])
    best = ladder.best(design, trained.stop, rates, levels) if many else np.zeros(2, dtype=int)
    candidate, baseline = (
        with_rate(arm(terms.base, terms.asked, row), rates[int(i)]) for row, i in zip(levels, best, strict=True)
    )
    differ = any(choice.levels) or best[0] != best[1]
    return Judged(trained, seeds, looks, chosen, scores, found, choice, candidate, baseline, bool(differ))


def with_rate(recipe: Recipe, factor: float) -> Recipe:
    """The recipe with its optimizer's learning rate times ``factor``."""
    optimizer = recipe.holder("optimizer")
    assert optimizer is not None
    return recipe if factor == 1.0 else recipe.plus(replace(optimizer, rate=optimizer.knobs()["rate"] * factor))


def halves_keys(terms: Terms, j: Judged) -> list[Key]:
    """The half-split runs of every arm at the rate chosen for it most often."""
    first = terms.seed + HALVES_FROM
    return [Key(c, terms.rates[i], first + part) for c, i in enumerate(j.often) for part in range(2 * terms.splits)]


def trades(store: Store, terms: Terms, j: Judged) -> dict[str, tuple[TradeRow, ...]]:
    """Bias² and variance from the half-splits, by the form of the loss; squared loss comes first."""
    if not terms.splits:
        return {}
    found = {key: r for key, _, r in store.results(HALVES)}
    predictions = [_needed(found, key).arrays["prediction"] for key in halves_keys(terms, j)]
    targets, groups = store.array("targets"), store.array("groups assess")
    assert targets is not None
    f = halved(predictions, terms.design.configurations, terms.splits)
    forms = FORMS if "accuracy" in terms.names else {"squared": FORMS["squared"]}  # of classes, or of numbers
    return {
        name: trade(terms.design, f, targets, effects=j.found, n=terms.half, form=form, groups=groups)
        for name, form in forms.items()
    }


def confirmation(store: Store, terms: Terms, j: Judged) -> Confirmation | None:
    """Recommended against baseline. Confirmed over all declared looks: each spends an equal part of the 5 %
    (Bonferroni), for every look may send another recipe to the same test rows."""
    what = store.fact(f"{CONFIRM} {j.looks.now}")
    if what is None:
        return None
    found = {key: r for key, _, r in store.results(f"{CONFIRM} {what['look']}")}
    merged = _grouping(store, "test")
    pair = [
        merged(np.stack([_needed(found, Key(i, 1.0, s)).arrays[terms.metric] for s in what["seeds"]])) for i in (0, 1)
    ]
    better = j.found.better
    plain = confirm(*pair, metric=terms.metric, better=better)
    if len(terms.looks) == 1:
        return plain
    wide = interval(np.stack(pair), [1.0, -1.0], level=1.0 - 0.05 / len(terms.looks))
    low, high = float(wide.low[0]), float(wide.high[0])
    return replace(plain, low=low, high=high, confirmed=high < 0.0 if better == "lower" else low > 0.0)


def by_rate(store: Store, terms: Terms, j: Judged) -> tuple[Any, ...]:
    """Effects at every fixed rate, where there are several."""
    if len(terms.rates) < 2:
        return ()
    y = _grouping(store, "assess")(j.trained.scores[terms.metric])
    fallback = j.trained.failed | j.trained.capped
    return ladder.by_rate(terms.design, y, terms.rates, j.found.better, j.found.smallest, fallback)


def seconds(store: Store) -> dict[str, float]:
    """Measured seconds, summed over runs and processes: compiling (of all phases), training by phase, and in all."""
    spent = {"compile": 0.0, "train": 0.0, "halves": 0.0, "confirmation": 0.0}
    for phase, train, compiling in store.spent():
        name = {DESIGN: "train", HALVES: "halves"}.get(phase, "confirmation")
        spent[name] += train
        spent["compile"] += compiling
    return {**spent, "total": store.worked()}


def capped(terms: Terms, j: Judged) -> dict[str, int]:
    """Per technique, how many of the runs in its effect that had it on ended worse than the fallback they are scored
    as: at the rates chosen."""
    return failures(terms.design, ladder.at_rate(j.trained.capped, j.chosen))


def _grouping(store: Store, role: str) -> Callable[[Array], Array]:
    """Dependent examples count as one."""
    groups = store.array(f"groups {role}")
    return (lambda y: y) if groups is None else (lambda y: grouped(y, groups))


def _needed(found: dict[Key, Result], key: Key) -> Result:
    if key not in found:
        raise EquipoiseError(f"the run {tuple(key)} is not in the store: the study is not finished; resume it.")
    return found[key]
