"""Running a study: arms × seeds × rates through the cohort engine, scored on `assess`; half-splits; confirmation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from .. import metrics, rng
from ..feed import Schedule
from ..plan import Member, Options
from ..programs import Workshop
from ..recipe import Recipe
from ..run import Run
from ..training import train_members

if TYPE_CHECKING:
    from ..data import Data

Array = np.ndarray[Any, Any]
LADDER = (0.25, 1.0, 4.0)


@dataclass
class Trained:
    """What the runs of a design gave, per configuration, rate and seed."""

    scores: dict[str, Array]  # metric → (N, L, S, n) on assess, failed runs as the fallback
    stop: Array  # (N, L, S) stop loss of the weights that were kept
    failed: Array  # (N, L, S) bool
    seconds: Array  # (N, L, S) of training, compiling left out: it falls on whichever cohort comes first
    histories: list[list[list[list[dict[str, float]]]]]
    notes: list[str]
    programs: int
    compiling: float = 0.0  # seconds, of all runs together

    @property
    def spent(self) -> dict[str, float]:
        """Seconds of the design's runs; half-splits, confirmation and scoring are in a study's total only."""
        return {"compile": self.compiling, "train": float(self.seconds.sum())}


@dataclass(frozen=True)
class Setting:
    """What all runs of a study share."""

    model: Any
    data: Data
    schedule: Schedule
    options: Options
    workshop: Workshop = field(default_factory=Workshop)  # all phases share programs and compiled steps

    def train(self, members: Sequence[Member], progress: Any = None) -> list[Run]:
        """Train the runs of one phase."""
        return train_members(
            self.model, members, self.data, self.schedule, self.options, progress=progress, workshop=self.workshop
        )


def run_design(
    setting: Setting,
    arms: Sequence[Recipe],
    seeds: Sequence[int],
    rates: Sequence[float],
    names: Sequence[str],
    order: Sequence[int],
    progress: Any = None,
) -> Trained:
    """Every arm with every seed and rate factor; ``order``: in which arms are run."""
    keys = [(c, x, s) for s in range(len(seeds)) for c in order for x in range(len(rates))]
    members = [Member(arms[c], seeds[s], factor=rates[x]) for c, x, s in keys]
    runs = setting.train(members, progress)
    shape = (len(arms), len(rates), len(seeds))
    n = len(setting.data.rows["assess"])
    scores = {m: np.empty((*shape, n)) for m in names}
    stop, seconds = np.empty(shape), np.empty(shape)
    failed = np.zeros(shape, dtype=bool)
    histories: list[Any] = [[[[] for _ in seeds] for _ in rates] for _ in arms]
    fallback = Fallback(setting.data)
    for (c, x, s), run in zip(keys, runs, strict=True):
        for m, values in fallback.scores(run, "assess", names).items():
            scores[m][c, x, s] = values
        stop[c, x, s] = fallback.stop_loss(run)
        failed[c, x, s], seconds[c, x, s] = bool(run.failed), run.record.seconds["train"]
        histories[c][x][s] = run.history
    notes = list(dict.fromkeys(note for run in runs for note in run.notes))
    programs, compiling = len({id(r.program) for r in runs}), sum(r.record.seconds["compile"] for r in runs)
    return Trained(scores, stop, failed, seconds, histories, notes, programs, compiling)


class Fallback:
    """Scores with a cap (CONTRACT §6): a run that diverged, or is worse, scores as the fallback a user would have."""

    def __init__(self, data: Data) -> None:
        self.data = data
        fit = data.select("fit")[1].cpu().numpy()
        self._prediction = metrics.baseline_prediction(fit, data.task, data.outputs)
        self._primary = metrics.primary(data.task)

    def scores(self, run: Run, split: str, names: Sequence[str]) -> dict[str, Array]:
        """Per-example scores of a run on a role; all metrics follow the cap of the primary one."""
        x, y = self.data.select(split)
        target = y.cpu().numpy()
        prediction = run.outcome(x)
        flat = np.broadcast_to(self._prediction, prediction.shape)
        worse = not np.isfinite(prediction).all()
        worse = worse or metrics.score(self._primary, prediction, target) > metrics.score(self._primary, flat, target)
        return {m: metrics.per_example(m, flat if worse else prediction, target) for m in names}

    def stop_loss(self, run: Run) -> float:
        """Mean primary loss on `stop`, capped alike."""
        _, y = self.data.select("stop")
        return float(self.scores(run, "stop", [self._primary])[self._primary].mean()) if len(y) else float("nan")


def run_halves(
    setting: Setting, arms: Sequence[Recipe], splits: int, seed: int, factors: Sequence[float], progress: Any = None
) -> tuple[Array, int]:
    """Predictions (N, R, 2, n, K) on `assess` of every arm trained on both halves of R random splits of the fit rows.

    The halves are the same for all arms; the two trainings of a split have different seeds, and the epochs are those of
    the whole. ``factors``: each arm's learning-rate factor. Also returns the training size of a half.
    """
    fit = setting.data.rows["fit"].cpu()
    half = len(fit) // 2
    members, seeds = [], iter(range(seed, seed + 2 * splits))
    parts = []
    for r in range(splits):
        perm = rng.permutation(seed, "halves", len(fit), r)
        parts += [
            (fit[perm[:half]].sort().values, next(seeds)),
            (fit[perm[half : 2 * half]].sort().values, next(seeds)),
        ]
    members = [Member(a, s, rows, f) for a, f in zip(arms, factors, strict=True) for rows, s in parts]
    runs = setting.train(members, progress)
    x, _ = setting.data.select("assess")
    f = np.stack([run.outcome(x) for run in runs])
    return f.reshape(len(arms), splits, 2, *f.shape[1:]), half


def run_pair(
    setting: Setting,
    recipes: Sequence[Recipe],
    factors: Sequence[float],
    seeds: Sequence[int],
    names: Sequence[str],
    progress: Any = None,
) -> list[dict[str, Array]]:
    """Per-example scores (S, n) on `test` of each recipe on the same fresh seeds."""
    members = [Member(r, s, factor=f) for r, f in zip(recipes, factors, strict=True) for s in seeds]
    runs = setting.train(members, progress)
    fallback = Fallback(setting.data)
    each = [fallback.scores(run, "test", names) for run in runs]
    k = len(seeds)
    return [{m: np.stack([e[m] for e in each[i * k : (i + 1) * k]]) for m in names} for i in range(len(recipes))]


def targets_of(data: Data, role: str) -> Array:
    """Targets of a role as the squared-loss decomposition reads them: one-hot classes, or values."""
    y = data.select(role)[1].cpu()
    return (
        torch.nn.functional.one_hot(y, data.outputs).double().numpy() if data.task == "classify" else y.double().numpy()
    )
