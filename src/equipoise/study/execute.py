"""Running the runs of a study where nothing is kept: a design, and half-splits, through a store in memory."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..recipe import Recipe
from .phases import (
    LADDER,
    Array,
    Fallback,
    Phase,
    Setting,
    Trained,
    collected,
    design_phase,
    halves_phase,
    keys_of,
    targets_of,
)
from .store import Key, Result, Store
from .work import Worker

__all__ = ["LADDER", "Fallback", "Setting", "Trained", "run_design", "run_halves", "targets_of"]


def run_design(
    setting: Setting,
    arms: Sequence[Recipe],
    seeds: Sequence[int],
    rates: Sequence[float],
    names: Sequence[str],
    order: Sequence[int],
    progress: Any = None,
) -> Trained:
    """Every arm with every seed and rate factor, scored on `assess`; ``order``: in which arms are run. Cohorts may
    cross seed blocks, as no more of these are to come."""
    keys = [key for seed in seeds for key in keys_of(order, rates, seed)]
    phase = design_phase(setting, arms, [keys], names, times=1)
    return collected(run_phase(setting, phase, progress), len(arms), seeds, rates, names)


def run_halves(
    setting: Setting, arms: Sequence[Recipe], splits: int, seed: int, factors: Sequence[float], progress: Any = None
) -> tuple[Array, int]:
    """Predictions (N, R, 2, n, K) on `assess` of every arm trained on both halves of R random splits of the fit rows,
    and the training size of a half (`halves_phase`). ``factors``: each arm's learning-rate factor."""
    phase, half = halves_phase(setting, arms, splits, seed, factors)
    found = {key: r.arrays["prediction"] for key, _, r in run_phase(setting, phase, progress)}
    return halved([found[key] for key in phase.keys], len(arms), splits), half


def run_phase(setting: Setting, phase: Phase, progress: Any = None) -> list[tuple[Key, int, Result]]:
    """Train one phase by itself."""
    with Store(None) as store:
        store.begin({}, {})
        with Worker(store, setting, None) as worker:
            worker.work(phase, progress)
        return list(store.results(phase.name))


def halved(predictions: Sequence[Array], arms: int, splits: int) -> Array:
    """Predictions (n, K) of all trainings, in the order planned, as (N, R, 2, n, K)."""
    f = np.stack(predictions)
    return f.reshape(arms, splits, 2, *f.shape[1:])
