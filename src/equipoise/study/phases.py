"""The phases of a study: what their runs are, and what is kept of these. Arms × seeds × rates scored on `assess`;
half-splits; confirmation on `test`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from .. import metrics, rng
from ..checkpoint import Keeper
from ..feed import Schedule
from ..plan import Member, Options
from ..programs import Workshop
from ..recipe import Recipe
from ..run import Run
from ..training import NOTHING, train_members
from .store import Key, Result
from .tradeoff import half_size, halves

if TYPE_CHECKING:
    from ..data import Data

Array = np.ndarray[Any, Any]
LADDER = (0.25, 1.0, 4.0)
DESIGN, HALVES, CONFIRM = "design", "halves", "confirm"


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
    capped: Array = field(default_factory=lambda: np.zeros((1, 1, 1), dtype=bool))  # (N, L, S): worse than the fallback

    @property
    def spent(self) -> dict[str, float]:
        """Seconds of the design's runs."""
        return {"compile": self.compiling, "train": float(self.seconds.sum())}


@dataclass(frozen=True)
class Setting:
    """What all runs of a study share."""

    model: Any
    data: Data
    schedule: Schedule
    options: Options
    workshop: Workshop = field(default_factory=Workshop)  # all phases share programs and compiled steps

    def train(self, members: Sequence[Member], progress: Any = None, keeper: Keeper = NOTHING) -> list[Run]:
        """Train some runs."""
        return train_members(
            self.model, members, self.data, self.schedule, self.options, progress=progress, workshop=self.workshop,
            keeper=keeper,
        )  # fmt: skip


@dataclass(frozen=True)
class Phase:
    """Runs of one kind. ``blocks``: planned runs by blocks that no cohort crosses, so that a block gives the same bits
    whichever others are run; ``times``: how many such blocks there may ever be, which decides whether to compile."""

    name: str
    blocks: tuple[tuple[Key, ...], ...]
    member: Callable[[Key], Member]
    kept: Callable[[Run], Result]
    times: int = 1

    @property
    def keys(self) -> list[Key]:
        return [key for block in self.blocks for key in block]


class Fallback:
    """Scores with a cap (CONTRACT §6): a run that diverged, or is worse, scores as the fallback a user would have."""

    def __init__(self, data: Data) -> None:
        self.data = data
        fit = data.select("fit")[1].cpu().numpy()
        self._prediction = metrics.baseline_prediction(fit, data.task, data.outputs)
        self._primary = metrics.primary(data.task)

    def scores(self, run: Run, split: str, names: Iterable[str]) -> dict[str, Array]:
        """Per-example scores of a run on a role; all metrics follow the cap of the primary one."""
        return self.capped(run, split, names)[0]

    def capped(self, run: Run, split: str, names: Iterable[str]) -> tuple[dict[str, Array], bool]:
        """`scores`, and whether they are the fallback's."""
        x, y = self.data.select(split)
        target = y.cpu().numpy()
        prediction = run.outcome(x)
        flat = np.broadcast_to(self._prediction, prediction.shape)
        worse = not np.isfinite(prediction).all()
        worse = worse or metrics.score(self._primary, prediction, target) > metrics.score(self._primary, flat, target)
        return {m: metrics.per_example(m, flat if worse else prediction, target) for m in names}, bool(worse)

    def stop_loss(self, run: Run) -> float:
        """Mean primary loss on `stop`, capped alike."""
        _, y = self.data.select("stop")
        return float(self.scores(run, "stop", [self._primary])[self._primary].mean()) if len(y) else float("nan")


def result(run: Run, arrays: dict[str, Array], stop: float = float("nan"), capped: bool = False) -> Result:
    """What is kept of a run. ``capped`` is of runs that ended: a failed one scores as the fallback anyway."""
    spent = run.record.seconds
    return Result(
        stop, spent["train"], spent["compile"], run.failed, capped and not run.failed, run.history, run.notes, arrays
    )


def design_phase(
    setting: Setting, arms: Sequence[Recipe], blocks: Sequence[Sequence[Key]], names: Sequence[str], times: int
) -> Phase:
    """Every arm with every seed and rate factor, scored on `assess`."""
    fallback = Fallback(setting.data)

    def kept(run: Run) -> Result:
        scores, capped = fallback.capped(run, "assess", names)
        return result(run, scores, fallback.stop_loss(run), capped)

    return Phase(DESIGN, tuple(map(tuple, blocks)), lambda k: Member(arms[k.arm], k.seed, factor=k.rate), kept, times)


def keys_of(order: Sequence[int], rates: Sequence[float], seed: int) -> list[Key]:
    """The runs of one seed block, in the order they are run."""
    return [Key(int(c), float(rate), int(seed)) for c in order for rate in rates]


def halves_phase(
    setting: Setting, arms: Sequence[Recipe], splits: int, seed: int, factors: Sequence[float]
) -> tuple[Phase, int]:
    """Every arm on both halves of R random splits of the fit rows, at its factor of the learning rate; their size.

    The halves are the same for all arms and hold whole groups of dependent rows; the two trainings of a split have
    different seeds, ``seed`` … ``seed`` + 2R − 1, and the epochs are those of the whole. What is kept are the
    predictions (n, K) on `assess`.
    """
    fit, groups = setting.data.rows["fit"].cpu(), setting.data.groups_of("fit")
    orders = [rng.permutation(seed, "halves", len(fit), r).numpy() for r in range(splits)]
    parts = [fit[torch.from_numpy(part)] for order in orders for part in halves(order, groups)]
    x, _ = setting.data.select("assess")
    keys = tuple(Key(c, float(f), seed + p) for c, f in enumerate(factors) for p in range(len(parts)))
    phase = Phase(
        HALVES,
        (keys,),
        lambda k: Member(arms[k.arm], k.seed, parts[k.seed - seed], k.rate),
        lambda run: result(run, {"prediction": run.outcome(x)}),
    )
    return phase, half_size(len(fit), groups)


def confirm_phase(setting: Setting, recipes: Sequence[Recipe], seeds: Sequence[int], metric: str, look: int) -> Phase:
    """Recommended recipe and baseline on the same fresh seeds, scored on `test`."""
    fallback = Fallback(setting.data)

    def kept(run: Run) -> Result:
        scores, capped = fallback.capped(run, "test", [metric])
        return result(run, scores, capped=capped)

    keys = tuple(Key(i, 1.0, s) for i in range(len(recipes)) for s in seeds)
    return Phase(f"{CONFIRM} {look}", (keys,), lambda k: Member(recipes[k.arm], k.seed), kept)


def collected(
    results: Iterable[tuple[Key, int, Result]],
    arms: int,
    seeds: Sequence[int],
    rates: Sequence[float],
    names: Sequence[str],
) -> Trained:
    """The results of a design's runs as arrays."""
    shape = (arms, len(rates), len(seeds))
    scores: dict[str, Array] = {}
    stop, seconds = np.full(shape, np.nan), np.zeros(shape)
    failed, capped = np.zeros(shape, dtype=bool), np.zeros(shape, dtype=bool)
    histories: list[Any] = [[[[] for _ in seeds] for _ in rates] for _ in range(arms)]
    notes, programs, compiling = dict[str, None](), set[int](), 0.0
    for key, program, r in results:
        c, x, s = key.arm, list(rates).index(key.rate), list(seeds).index(key.seed)
        for m in names:
            scores.setdefault(m, np.full((*shape, len(r.arrays[m])), np.nan))[c, x, s] = r.arrays[m]
        stop[c, x, s], seconds[c, x, s] = r.stop, r.seconds
        failed[c, x, s], capped[c, x, s] = bool(r.failed), r.capped
        histories[c][x][s] = r.history
        notes |= dict.fromkeys(r.notes)
        programs.add(program)
        compiling += r.compiling
    return Trained(scores, stop, failed, seconds, histories, list(notes), len(programs), compiling, capped)


def targets_of(data: Data, role: str) -> Array:
    """Targets of a role as the squared-loss decomposition reads them: one-hot classes, or values."""
    y = data.select(role)[1].cpu()
    return (
        torch.nn.functional.one_hot(y, data.outputs).double().numpy() if data.task == "classify" else y.double().numpy()
    )
