"""What many studies say together of a technique that does nothing, and what they must not say."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats as sps
from tables import markdown

from equipoise.stats import wilson
from equipoise.study.effects import COSTS, PAYS, SMALL

LEVELS = (0.01, 0.05, 0.10)
CERTAIN = 1e-6  # probability with which a right analysis fails the binomial test


@dataclass(frozen=True)
class Row:
    """What one study said of its placebo; ``real``: how many of its ``others`` it flagged; ``rho``: the pairing."""

    study: int
    effect: float
    low: float
    high: float
    se_seed: float
    se_example: float
    df: float
    p: float
    p_holm: float
    verdict: str
    smallest: float
    rho: float
    real: int
    others: int
    seconds: float

    @property
    def flagged(self) -> bool:
        return self.verdict in (PAYS, COSTS)


@dataclass(frozen=True)
class Summary:
    """All studies of a part. ``below``: shares of p below .01, .05 and .10; ``excess``: p values of the exact one-sided
    binomial tests that they exceed nominal; ``uniform``, ``too_small``: p values of Kolmogorov and Smirnov's test
    against any departure from the uniform distribution, and against too small p values alone; ``real``: share of the
    real techniques that were flagged."""

    part: str
    studies: int
    below: tuple[float, ...]
    excess: tuple[float, ...]
    coverage: float
    coverage_low: float
    coverage_high: float
    flagged: float
    small: float
    real: float
    rho: float
    uniform: float
    too_small: float
    deciles: tuple[float, ...]
    seconds: float


def summary(part: str, rows: Sequence[Row]) -> Summary:
    n, p = len(rows), np.array([r.p for r in rows])
    hits = [int((p < level).sum()) for level in LEVELS]
    covered = sum(r.low <= 0.0 <= r.high for r in rows)
    low, high = wilson(covered, n)
    return Summary(
        part=part,
        studies=n,
        below=tuple(k / n for k in hits),
        excess=tuple(excess(k, n, level) for k, level in zip(hits, LEVELS, strict=True)),
        coverage=covered / n,
        coverage_low=low,
        coverage_high=high,
        flagged=sum(r.flagged for r in rows) / n,
        small=sum(r.verdict == SMALL for r in rows) / n,
        real=sum(r.real for r in rows) / sum(r.others for r in rows),
        rho=float(np.mean([r.rho for r in rows])),
        uniform=float(sps.kstest(p, "uniform").pvalue),
        too_small=float(sps.kstest(p, "uniform", alternative="greater").pvalue),
        deciles=tuple(np.histogram(p, bins=10, range=(0.0, 1.0))[0] / n),
        seconds=sum(r.seconds for r in rows),
    )


def excess(hits: int, n: int, level: float) -> float:
    """P(at least so many of n) where each has probability ``level``, exactly."""
    return float(sps.binomtest(hits, n, level, alternative="greater").pvalue)


def uncalibrated(found: Summary) -> list[str]:
    """Which rates of small p values exceed nominal beyond chance."""
    each = zip(found.below, found.excess, LEVELS, strict=True)
    return [f"{found.part}: {s:.4f} of p below {level}, by chance {p:.1e}" for s, p, level in each if p < CERTAIN]


def flagged_too_often(found: Summary) -> list[str]:
    """Whether the placebo was said to pay or cost more often than .05 + 5 SE."""
    bound = 0.05 + 5 * float(np.sqrt(0.05 * 0.95 / found.studies))
    return [f"{found.part}: flagged in {found.flagged:.4f}, above {bound:.4f}"] if found.flagged > bound else []


def page(found: Sequence[Summary]) -> str:
    """The tables as markdown."""
    head = [
        "part", "studies", *(f"p < {level:.2f}" for level in LEVELS), "95 % interval holds 0", "flagged",
        "too small to matter", "real techniques flagged", "pairing ρ", "seconds",
    ]  # fmt: skip
    rates = [
        [s.part, str(s.studies), *(f"{b:.4f}" for b in s.below),
         f"{s.coverage:.4f} [{s.coverage_low:.4f}, {s.coverage_high:.4f}]", f"{s.flagged:.4f}", f"{s.small:.3f}",
         f"{s.real:.3f}", f"{s.rho:.2f}", f"{s.seconds:.0f}"]
        for s in found
    ]  # fmt: skip
    tests = [
        [s.part, *(f"{e:.2g}" for e in s.excess), f"{s.uniform:.2g}", f"{s.too_small:.2g}",
         *(f"{d:.3f}" for d in s.deciles)]
        for s in found
    ]  # fmt: skip
    tests_head = [
        "part", *(f"exact test, p < {level:.2f}" for level in LEVELS), "KS", "KS, too small p",
        *(f"share of p in .{d} to {'1' if d == 9 else f'.{d + 1}'}" for d in range(10)),
    ]  # fmt: skip
    return f"{markdown(head, rates)}\n\n{markdown(tests_head, tests)}"
