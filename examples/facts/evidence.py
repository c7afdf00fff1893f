"""What every fact here returns: a paired difference over seeds with its 95 % interval, and how it is printed."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

import equipoise as eq
from equipoise.stats import Paired, paired_t

SEEDS = range(8)
EAGER = eq.Options(compile="never", progress=False)  # compiling takes longer than these runs


@dataclass(frozen=True)
class Fact:
    """``a`` − ``b`` over paired seeds, in ``unit``. Where ``stated``, the claim is that the difference is above 0."""

    claim: str
    data: str
    unit: str
    a: Sequence[float]
    b: Sequence[float]
    stated: bool = True

    @cached_property
    def paired(self) -> Paired:
        return paired_t(self.a, self.b)

    @property
    def difference(self) -> str:
        """Mean and interval, three digits of the largest."""
        t = self.paired
        digits = max(0, 2 - int(np.floor(np.log10(max(abs(t.low), abs(t.high), 1e-12)))))
        return f"{t.mean:+.{digits}f} [{t.low:+.{digits}f}, {t.high:+.{digits}f}] {self.unit}"

    @property
    def verdict(self) -> str:
        if not self.stated:
            return "measured"
        return "holds" if self.paired.low > 0 else "does not hold"


def show(facts: Iterable[Fact]) -> None:
    """Print each fact with its interval, number of seeds, data and the command that was run."""
    for f in facts:
        print(f"{f.claim}: {f.difference}, {f.verdict}; {len(f.a)} paired seeds, {f.data}")
    print(f"python examples/facts/{Path(sys.argv[0]).name}")


def train(
    model: Any, recipes: Sequence[eq.Recipe], data: eq.Data, seeds: Sequence[int], **schedule: Any
) -> list[list[Any]]:
    """Runs of every recipe (first axis) from the same seeds, one cohort for each recipe."""
    return [eq.train_many(model, [r] * len(seeds), data, seeds=list(seeds), options=EAGER, **schedule) for r in recipes]


def errors(runs: Iterable[Any]) -> list[float]:
    """Percent of the `assess` rows that each run gets wrong."""
    return [100 * (1 - r.score("assess")["accuracy"]) for r in runs]
