"""`study`: a randomized factorial experiment with paired seeds, from the question to the confirmed recommendation."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from .. import files, metrics
from ..feed import Schedule
from ..plan import Options
from ..recipe import Recipe
from ..run import versions
from . import rates as ladder
from .design import Design
from .effects import Effects, effects, failures
from .execute import Setting, Trained, run_design, run_halves, run_pair, targets_of
from .factors import arm
from .planned import StudyPlan, prepare, primary_metric
from .recommend import Confirmation, Recommendation, confirm, recommend
from .tradeoff import TradeRow, trade

if TYPE_CHECKING:
    import pandas as pd

    from ..data import Data

CONFIRM_SEEDS = 10
FRESH = 1_000_000  # confirmation seeds start this far from the study's
HALVES = 2_000_000


@dataclass
class Study:
    """A finished study. ``effects``: a DataFrame, one row per technique and metric; ``recommended``: the recipe that is
    confirmed, or the baseline; ``report(path)`` writes the page."""

    question: dict[str, Any]
    design: Design
    found: Effects
    recommendation: Recommendation
    candidate: Recipe
    baseline: Recipe
    confirmation: Confirmation | None
    trained: Trained
    seeds: list[int]
    rates: tuple[float, ...]
    trades: tuple[TradeRow, ...] = ()
    by_rate: tuple[Any, ...] = ()
    seconds: dict[str, float] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    facts: dict[str, Any] = field(default_factory=dict)  # everything needed to repeat it
    test_looks: int = 0

    @property
    def effects(self) -> pd.DataFrame:
        import pandas as pd

        return pd.DataFrame([r.as_json() for r in self.found.rows])

    @property
    def recommended(self) -> Recipe:
        """The confirmed recipe; the baseline where nothing was confirmed."""
        return self.candidate if self.confirmation is not None and self.confirmation.confirmed else self.baseline

    def to_dict(self) -> dict[str, Any]:
        """study.json of CONTRACT §11."""
        failed = failures(self.design, np.asarray(self.trained.failed.any(1))) if self.trained.failed.any() else {}
        why = " ".join(self.recommendation.why)
        return {
            "schema": "equipoise/study/1", "question": self.question, "design": self.design.describe(),
            "runs": int(self.trained.stop.size), "seeds": len(self.seeds), "programs": self.trained.programs,
            "seconds": self.seconds, "failed": failed, "effects": [r.as_json() for r in self.found.rows],
            "interactions": [r.as_json() for r in self.found.interactions],
            "trade": [r.as_json() for r in self.trades], "test_looks": self.test_looks,
            "recommended": {"recipe": self.candidate.to_list(), "predicted": self.recommendation.predicted, "why": why},
            "confirmation": self.confirmation.as_json() if self.confirmation else None,
        }  # fmt: skip

    def report(self, path: str | Path) -> Path:
        """Write the self-contained page."""
        from ..report import study_page

        path = Path(path)
        files.write_text(path, study_page(self))
        return path

    def save(self, folder: str | Path) -> Path:
        """study.json last: a folder without it is unfinished."""
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        files.write_text(folder / "recipe.yaml", self.recommended.to_yaml())
        if self.recommended != self.candidate:
            files.write_text(folder / "recipe.candidate.yaml", self.candidate.to_yaml())
        files.write_text(folder / "effects.csv", self.effects.to_csv(index=False))
        self.report(folder / "report.html")
        files.write_json(folder / "study.json", self.to_dict())
        return folder


def study(
    model: Any,
    recipe: Any,
    data: Data,
    techniques: Any = None,
    *,
    seeds: int | Sequence[int] = 3,
    epochs: int,
    batch_size: int = 64,
    metric: str | None = None,
    smallest: float | None = None,
    lr: str = "ladder",
    trade_splits: int = 2,
    configurations: int | None = None,
    seed: int = 0,
    out: str | Path | None = None,
    options: Options = Options(),
    progress: Any = None,
) -> Study:
    """Which of ``techniques`` pay on this network and this data, each with an interval; the best of them, confirmed.

    techniques: a comma list, or techniques and lists of levels; None takes the default factors of the data's kind.
    seeds: how many seed blocks (≥ 2), or which. metric: the primary metric (default loss, rmse); smallest: the smallest
    effect of interest in its unit (default 2 % of the baseline, .005 for accuracy). lr: "ladder" (×¼, ×1, ×4, each
    arm at its own best rate, cross-fitted) or "fixed". trade_splits: random half-splits for bias² and variance
    (0: none).
    Returns a `Study`; with ``out`` also writes study.json, effects.csv, report.html and recipe.yaml there.
    """
    plan = prepare(model, recipe, data, techniques, seeds=seeds, lr=lr, configurations=configurations, seed=seed)
    metric = primary_metric(data, metric)
    setting = Setting(model, data.to(options.resolved_device()), Schedule(epochs, batch_size), options)
    began = time.perf_counter()
    names = [metric, *(m for m in metrics.metrics_for(data.task, data.outputs) if m != metric)]
    trained = run_design(setting, plan.arms, plan.seeds, plan.rates, names, plan.design.order, progress)
    chosen = (
        ladder.cross_fitted(plan.design, trained.stop, plan.rates)
        if len(plan.rates) > 1
        else np.zeros(trained.stop.shape[::2], dtype=int)
    )
    scores = {m: ladder.at_rate(v, chosen) for m, v in trained.scores.items()}
    found = effects(plan.design, scores, primary=metric, smallest=smallest)
    choice = recommend(plan.design, scores[metric], found)
    levels = np.array([choice.levels, [0] * len(plan.asked)])
    best = ladder.best(plan.design, trained.stop, plan.rates, levels) if len(plan.rates) > 1 else np.zeros(2, dtype=int)
    factors = [plan.rates[int(i)] for i in best]
    candidate, baseline = (
        with_rate(arm(plan.base, plan.asked, row), f) for row, f in zip(levels, factors, strict=True)
    )
    trades = _trades(setting, plan, found, trained, chosen, trade_splits, seed, progress)
    confirmation, looks = None, 0
    if any(choice.levels) or factors[0] != factors[1]:
        fresh = [seed + FRESH + i for i in range(CONFIRM_SEEDS)]
        pair = run_pair(setting, [candidate, baseline], [1.0, 1.0], fresh, [metric], progress)
        confirmation = confirm(pair[0][metric], pair[1][metric], metric=metric, better=found.better)
        looks = 1
    seconds = {**trained.spent, "total": time.perf_counter() - began}
    by_rate = (
        ladder.by_rate(plan.design, trained.scores[metric], plan.rates, found.better) if len(plan.rates) > 1 else ()
    )
    network = model if isinstance(model, str) else getattr(model, "__name__", type(model).__name__)
    question = {
        "data": data.name, "model": network, "base": plan.base.to_list(), "primary": metric, "smallest": found.smallest,
    }  # fmt: skip
    result = Study(
        question,
        plan.design,
        found,
        choice,
        candidate,
        baseline,
        confirmation,
        trained,
        plan.seeds,
        plan.rates,
        trades,
        by_rate,
        seconds,
        [*plan.left_out, *trained.notes],
        _facts(plan, data, setting.schedule, seed),
        looks,
    )
    if out is not None:
        result.save(out)
    return result


def _facts(plan: StudyPlan, data: Data, schedule: Schedule, seed: int) -> dict[str, Any]:
    """What it takes to repeat a study."""
    return {
        "versions": versions(), "fingerprint": data.fingerprint, "seeds": plan.seeds, "seed": seed,
        "epochs": schedule.epochs, "batch_size": schedule.batch_size, "rates": list(plan.rates), "source": data.source,
        "roles": {r: len(v) for r, v in data.rows.items()},
    }  # fmt: skip


def with_rate(recipe: Recipe, factor: float) -> Recipe:
    """The recipe with its optimizer's learning rate times ``factor``."""
    optimizer = recipe.holder("optimizer")
    assert optimizer is not None
    return recipe if factor == 1.0 else recipe.plus(replace(optimizer, rate=optimizer.knobs()["rate"] * factor))


def _trades(
    setting: Setting,
    plan: StudyPlan,
    found: Effects,
    trained: Trained,
    chosen: Any,
    splits: int,
    seed: int,
    progress: Any,
) -> tuple[TradeRow, ...]:
    """Bias² and variance from additional half-split runs, each arm at the rate chosen for it most often."""
    if splits < 2:
        return ()
    often = [plan.rates[int(np.bincount(row).argmax())] for row in chosen]
    predictions, half = run_halves(setting, plan.arms, splits, seed + HALVES, often, progress)
    return trade(plan.design, predictions, targets_of(setting.data, "assess"), effects=found, n=half)
