"""`search`: knobs by grid, random draws or TPE (Optuna), judged on the `stop` rows."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from . import metrics
from .errors import EquipoiseError, nearest
from .plan import Options
from .recipe import Recipe, resolve
from .reference import reference_recipe
from .technique import Technique

if TYPE_CHECKING:
    from .data import Data

METHODS = ("tpe", "random", "grid")


@dataclass(frozen=True)
class Trial:
    """One setting of the knobs and its score on `stop`; NaN where the run diverged."""

    knobs: dict[str, Any]
    score: float


@dataclass(frozen=True)
class Search:
    """All trials, best first, and the recipe with the best knobs. Judged on `stop` alone, not on `assess` or `test`."""

    metric: str
    trials: tuple[Trial, ...]
    recipe: Recipe

    @property
    def best(self) -> Trial:
        return self.trials[0]


def search(
    model: Any,
    recipe: Any,
    data: Data,
    space: Mapping[str, Any],
    *,
    trials: int = 20,
    epochs: int,
    batch_size: int = 64,
    seed: int = 0,
    method: str = "tpe",
    options: Options = Options(),
) -> Search:
    """Search knobs on held-out data (deck D2: grid search).

    space: ``"Technique.knob"`` → a (low, high) range, drawn in log scale where low > 0 and high/low ≥ 10, or a list of
    values. method: "tpe" (Bergstra et al. 2011), "random" (Bergstra and Bengio 2012), or "grid" over lists, which
    ignores ``trials``. Every trial has the same run seed, so that trials are paired. Raises EquipoiseError for unknown
    knobs.
    """
    import optuna

    if method not in METHODS:
        raise EquipoiseError(f"method={method!r}: one of {', '.join(METHODS)}.{nearest(method, METHODS)}")
    if trials < 1 or not space:
        raise EquipoiseError(f"trials={trials}, space={dict(space)!r}: at least one trial and one knob.")
    base = resolve(recipe, data.task, default=reference_recipe(model))
    for name in space:
        find_knob(base, name)
    metric = metrics.primary(data.task)
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(sampler=_sampler(method, space, seed), direction="minimize")
    done: list[Trial] = []

    def objective(trial: Any) -> float:
        from .feed import Schedule
        from .plan import Member
        from .training import checked_seed, train_members

        knobs = {name: _suggest(trial, name, values) for name, values in space.items()}
        member = Member(with_knobs(base, knobs), checked_seed(seed))
        run = train_members(model, [member], data, Schedule(epochs, batch_size), options)[0]
        score = float("nan") if run.failed else min_stop(run.history)
        done.append(Trial(knobs, score))
        return score

    study.optimize(objective, n_trials=None if method == "grid" else trials)
    if all(t.score != t.score for t in done):
        raise EquipoiseError("every trial diverged: narrow the range of the learning rate.")
    ranked = sorted(done, key=lambda t: (t.score != t.score, t.score))
    return Search(metric, tuple(ranked), with_knobs(base, ranked[0].knobs))


def min_stop(history: Sequence[Mapping[str, float]]) -> float:
    """The stop loss of the weights that are kept in the end: of the last epoch."""
    return history[-1]["stop_loss"]


def find_knob(recipe: Recipe, name: str) -> tuple[Technique, str]:
    """The entry and the knob or option that ``"Technique.knob"`` names."""
    kind, _, knob = name.partition(".")
    entry = recipe.find(kind)
    if entry is None:
        held = [type(t).__name__ for t in recipe.active()]
        raise EquipoiseError(
            f"space {name!r}: the recipe has no {kind!r}.{nearest(kind, held)} It holds {', '.join(held)}."
        )
    fields = [f.name for f in entry.fields()]
    if knob not in fields:
        raise EquipoiseError(
            f"space {name!r}: {kind} has no {knob!r}.{nearest(knob, fields)} It takes {', '.join(fields)}."
        )
    return entry, knob


def with_knobs(recipe: Recipe, knobs: Mapping[str, Any]) -> Recipe:
    """The recipe with those knobs; a value out of range is refused by its technique."""
    for name, value in knobs.items():
        entry, knob = find_knob(recipe, name)
        recipe = Recipe(*(dataclasses.replace(t, **{knob: value}) if t is entry else t for t in recipe))
    return recipe


def _suggest(trial: Any, name: str, values: Any) -> Any:
    if isinstance(values, list):
        return trial.suggest_categorical(name, values)
    low, high = values
    return trial.suggest_float(name, low, high, log=low > 0 and high / low >= 10)


def _sampler(method: str, space: Mapping[str, Any], seed: int) -> Any:
    import optuna

    for name, values in space.items():
        pair = isinstance(values, tuple) and len(values) == 2 and values[0] < values[1]
        if not (pair or (isinstance(values, list) and values)):
            raise EquipoiseError(f"space {name!r}: {values!r} is neither a range (low, high) nor a list of values.")
        if method == "grid" and not isinstance(values, list):
            raise EquipoiseError(f"space {name!r}: a grid needs a list of values, got the range {values!r}.")
    if method == "grid":
        return optuna.samplers.GridSampler({k: list(v) for k, v in space.items()}, seed=seed)
    return optuna.samplers.RandomSampler(seed=seed) if method == "random" else optuna.samplers.TPESampler(seed=seed)
