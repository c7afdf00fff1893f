"""Does the study's interval cover, and does its family-wise error hold? Whole studies simulated with known truths.

    python benchmarks/evidence/simulate.py [--studies 20000] [--seeds 2,3,5] [--slice] [--out FOLDER]

Each study is a 2^(7−3) design (16 configurations) on S paired seeds and 100 assessment examples; scores are a plant of
known effects plus a seed block, run-to-run error (σ = 1), a response of every example to every technique (sd 2) and a
residual (sd 2). They go through the very code of a real study: ``make_design`` → ``stats.interval`` → ``stats.adjust``.
``coverage`` is the share of 95 % intervals that hold the truth, averaged over the rows of a study, ``lowest`` that of
the worst row; ``family`` the share of studies in which any technique without an effect has a Holm-adjusted p < .05;
``seed only`` what an interval would cover that knows no example error. Where the model of the interval holds the bench
asserts coverage ≥ .95 − .005 − 5 SE and ≤ .98, and family ≤ .05 + 5 SE (``--slice``: those scenarios only, both bounds
widened by 5 SE of the smaller number of studies); the other scenarios are there to be quoted. Exit code 1 if one fails.

The last table is the runs a factorial saves against one technique at a time with its best allocation (the baseline run
√K times as often), (1 + √K)²/4 predicted: measured by the variance of an effect, by the width of its pooled t interval,
and by the width of the interval a study prints, whose larger-of rule costs much of it while seeds are few.
"""

from __future__ import annotations

import argparse
import csv
import itertools
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, fields
from pathlib import Path

import numpy as np
from numpy.random import Generator, Philox

from equipoise.stats import adjust, half_width, interval
from equipoise.study.design import Design, Factor, make_design
from equipoise.study.rates import at_rate, cross_fitted

N, EXAMPLES, CHUNK = 16, 100, 250
PLANT = np.array([0.0, 0.0, 0.0, 0.5, -0.5, 1.0, -1.0])
NOTHING = np.zeros(7)
DECLARED = ((0, 1), (3, 5))
TRIPLES = list(itertools.combinations(range(7), 3))
LADDER = (0.25, 1.0, 4.0)
SIZES = (0.1, 0.25, 0.5)


@dataclass(frozen=True)
class Scenario:
    """A world to draw studies from. ``holds``: the interval's model is true of it, so that bounds are asserted."""

    name: str
    holds: bool
    plant: np.ndarray
    interactions: tuple[tuple[int, int], ...] = ()
    declared_effects: tuple[float, ...] = ()
    runs: Callable[[Generator, Design, tuple[int, ...]], np.ndarray] = lambda rng, design, shape: rng.normal(size=shape)
    sd_example: float = 2.0
    sd_residual: float = 2.0
    undeclared: Callable[[Generator, Design, int], np.ndarray] | None = None
    failing: float = 0.0
    ladder: bool = False


@dataclass(frozen=True)
class Measured:
    """One row of the table."""

    scenario: str
    asserted: bool
    seeds: int
    studies: int
    coverage: float
    coverage_se: float
    lowest: float
    seed_only: float
    family: float
    family_se: float
    half_width: float


def _t3(rng: Generator, design: Design, shape: tuple[int, ...]) -> np.ndarray:
    return rng.standard_t(3, size=shape) / np.sqrt(3.0)


def _unequal(rng: Generator, design: Design, shape: tuple[int, ...]) -> np.ndarray:
    """Runs with the first technique on vary ten times as much as those without; the mean variance is 1."""
    sd = np.sqrt(np.where(design.matrix[:, 0] == 1, 20 / 11, 2 / 11))
    return rng.normal(size=shape) * sd[:, None]


def _moving(rng: Generator, design: Design, shape: tuple[int, ...]) -> np.ndarray:
    """The first technique's effect itself moves with the seed: its contrast has four times the others' variance."""
    effect = rng.normal(size=(shape[0], 1, shape[2])) * np.sqrt(3 * 4 / N)
    return rng.normal(size=shape) + effect * design.coded[:, :1] / 2


def _two_factor(rng: Generator, design: Design, studies: int) -> np.ndarray:
    """All 19 interactions that were not declared, each ±½σ."""
    pairs = [p for p in itertools.combinations(range(7), 2) if p not in DECLARED]
    columns = np.stack([design.coded[:, p].prod(1) for p in pairs])
    return 0.5 * rng.choice([-1.0, 1.0], (studies, len(pairs))) @ columns / 2


def _three_factor(size: float, many: int) -> Callable[[Generator, Design, int], np.ndarray]:
    """``many`` of the 35 three-factor interactions, drawn anew for every study, each ±size·σ."""

    def add(rng: Generator, design: Design, studies: int) -> np.ndarray:
        columns = np.stack([design.coded[:, t].prod(1) for t in TRIPLES])
        there = rng.permuted(np.tile(np.arange(35) < many, (studies, 1)), axis=1)
        return size * (there * rng.choice([-1.0, 1.0], there.shape)) @ columns / 2

    return add


SCENARIOS = (
    Scenario("no technique has an effect", True, NOTHING),
    Scenario("Gaussian, four effects", True, PLANT),
    Scenario("seed error only", True, PLANT, sd_example=0.0, sd_residual=0.0),
    Scenario("mostly example error", True, PLANT, sd_example=6.0),
    Scenario("two declared interactions", True, PLANT, DECLARED, (0.5, 0.0)),
    Scenario("t₃ run-to-run error", False, PLANT, runs=_t3),
    Scenario("arm variances 1 : 10", False, PLANT, runs=_unequal),
    Scenario("one effect moves with the seed, 4× variance", False, PLANT, runs=_moving),
    Scenario("undeclared interactions, all ±0.5σ", False, PLANT, DECLARED, (0.5, 0.0), undeclared=_two_factor),
    *(Scenario(f"one three-factor interaction, ±{s:g}σ", False, PLANT, undeclared=_three_factor(s, 1)) for s in SIZES),
    *(Scenario(f"35 three-factor interactions, ±{s:g}σ", False, PLANT, undeclared=_three_factor(s, 35)) for s in SIZES),
    Scenario("5 % failed runs", False, PLANT, failing=0.05),
    Scenario("rate ladder, cross-fitted", False, PLANT, ladder=True),
)


def designs(scenario: Scenario) -> Design:
    factors = [Factor(x, ("none", x)) for x in "ABCDEFG"]
    return make_design(factors, interactions=scenario.interactions, seed=1)


def draw(scenario: Scenario, design: Design, rng: Generator, studies: int, seeds: int) -> np.ndarray:
    """Scores (studies, N, S, n) of whole studies."""
    shape = (studies, N, seeds)
    runs = scenario.runs(rng, design, shape) + 2.0 * rng.normal(size=(studies, 1, seeds))
    runs += (design.terms(design.matrix)[:, 1:] @ [*scenario.plant, *scenario.declared_effects])[:, None]
    if scenario.undeclared:
        runs += scenario.undeclared(rng, design, studies)[..., None]
    response = rng.normal(size=(studies, 7, EXAMPLES)) * scenario.sd_example
    per_example = design.coded / 2 @ response + rng.normal(size=(studies, 1, EXAMPLES))
    y = rng.normal(size=(*shape, EXAMPLES))
    y *= scenario.sd_residual
    if scenario.ladder:
        runs = _laddered(design, rng, runs)
    y += runs[..., None] + per_example[:, :, None, :]
    if scenario.failing:
        y[rng.random(shape) < scenario.failing] = 5.0  # every example gets the fallback's score
    return y


def _laddered(design: Design, rng: Generator, runs: np.ndarray) -> np.ndarray:
    """Every arm at three rates; the first technique bears a higher one. Runs at the rate chosen on the other seeds."""
    optimum = 0.5 * design.coded[:, 0]
    lost = (np.log(LADDER) / np.log(4.0) - optimum[:, None]) ** 2
    every = runs[:, :, None, :] + lost[:, :, None] + rng.normal(size=(*runs.shape[:2], 3, runs.shape[2]))
    stop = every + 0.5 * rng.normal(size=every.shape)
    return at_rate(every, cross_fitted(design, stop, LADDER))


def truth(scenario: Scenario, estimates: np.ndarray) -> np.ndarray:
    """True effects of every row; of a rule that picks rates, their mean over all studies."""
    if scenario.ladder:
        return estimates.mean(0)
    return np.array([*scenario.plant, *scenario.declared_effects]) * (1.0 - scenario.failing)


def measure(scenario: Scenario, seeds: int, studies: int, seed: int = 0) -> Measured:
    """Draw studies and judge their intervals and p values."""
    design, rng = designs(scenario), Generator(Philox([seed, seeds, SCENARIOS.index(scenario)]))
    parts = []
    for size in _chunks(studies):
        found = interval(draw(scenario, design, rng, size, seeds), design.weights)
        parts.append([getattr(found, f.name) for f in fields(found)])
    names = [f.name for f in fields(found)]
    got = dict(zip(names, (np.concatenate(column) for column in zip(*parts, strict=True)), strict=True))
    want = truth(scenario, got["effect"])
    inside = (got["low"] <= want) & (want <= got["high"])
    narrow = half_width(got["se_seed"], (N - 1) * (seeds - 1), 0.05)
    null = want == 0.0
    wrong = np.zeros(studies, dtype=bool)
    open_ones = (got["p"][:, null] < 0.05).any(1)  # adjusted p values are never below the raw ones
    if open_ones.any():
        wrong[open_ones] = (adjust(got["p"][open_ones])[:, null] < 0.05).any(1)
    per_study = inside.mean(1)
    return Measured(
        scenario=scenario.name,
        asserted=scenario.holds,
        seeds=seeds,
        studies=studies,
        coverage=float(per_study.mean()),
        coverage_se=float(per_study.std(ddof=1) / np.sqrt(studies)),
        lowest=float(inside.mean(0).min()),
        seed_only=float((np.abs(got["effect"] - want) <= narrow).mean()),
        family=float(wrong.mean()) if null.any() else float("nan"),
        family_se=float(np.sqrt(max(wrong.mean() * (1 - wrong.mean()), 0.05 * 0.95) / studies)),
        half_width=float((got["high"] - got["effect"]).mean()),
    )


def _chunks(studies: int) -> Iterator[int]:
    for start in range(0, studies, CHUNK):
        yield min(CHUNK, studies - start)


def broken(row: Measured, slice_only: bool) -> list[str]:
    """What an asserted row violates."""
    if not row.asserted:
        return []
    slack = 5 * row.coverage_se
    checks = {
        f"coverage {row.coverage:.4f} is too low": row.coverage < 0.95 - 0.005 - slack,
        f"coverage {row.coverage:.4f} is too high": row.coverage > 0.98 + (slack if slice_only else 0.0),
        f"family-wise error {row.family:.4f} is too high": row.family > 0.05 + 5 * row.family_se,
    }
    return [f"{row.scenario}, S = {row.seeds}: {text}" for text, fails in checks.items() if fails]


@dataclass(frozen=True)
class Saved:
    """Runs one technique at a time needs over runs a factorial needs, for equally precise effects."""

    techniques: int
    design: str
    seeds: int
    predicted: float
    by_variance: float
    by_variance_se: float
    by_pooled_t: float
    by_interval: float


def runs_saved(k: int, studies: int, seeds: int = 3, seed: int = 0) -> Saved:
    """Both ways simulated with run-to-run error alone; precision is compared per run, as both variances fall as 1/n."""
    design = make_design([Factor(str(i), ("none", "on")) for i in range(k)], seed=seed)
    rng, arms = Generator(Philox([seed, k, seeds])), design.configurations
    y = rng.normal(size=(studies, arms, seeds, 1)).repeat(2, axis=3)
    found = interval(y, design.weights)
    r = (
        y[..., 0]
        - y[..., 0].mean(1, keepdims=True)
        - y[..., 0].mean(2, keepdims=True)
        + y.mean((1, 2, 3))[:, None, None]
    )
    nu = (arms - 1) * (seeds - 1)
    pooled = half_width(np.sqrt(4 * np.square(r).sum((1, 2)) / nu / (arms * seeds)), nu, 0.05)

    arm = 40
    base = round(np.sqrt(k) * arm)
    runs = (k * arm + base) / (arms * seeds)
    on, off = rng.normal(size=(studies, k, arm)), rng.normal(size=(studies, base))
    effect = on.mean(2) - off.mean(1)[:, None]
    residual = np.square(on - on.mean(2, keepdims=True)).sum((1, 2)) + np.square(off - off.mean(1, keepdims=True)).sum(
        1
    )
    df = k * (arm - 1) + base - 1
    width = half_width(np.sqrt(residual / df * (1 / arm + 1 / base)), df, 0.05).mean()
    alone, together = np.square(effect).mean(1), np.square(found.effect).mean(1)
    relative = [v.std(ddof=1) / v.mean() / np.sqrt(studies) for v in (alone, together)]
    ratio = runs * alone.mean() / together.mean()
    return Saved(
        techniques=k,
        design=design.name,
        seeds=seeds,
        predicted=(1 + np.sqrt(k)) ** 2 / 4,
        by_variance=float(ratio),
        by_variance_se=float(ratio * np.hypot(*relative)),
        by_pooled_t=float(runs * (width / pooled.mean()) ** 2),
        by_interval=float(runs * (width / (found.high - found.effect).mean()) ** 2),
    )


def table(rows: list[Measured] | list[Saved]) -> str:
    """A markdown table of dataclass rows."""
    names = [f.name for f in fields(rows[0])]
    lines = ["| " + " | ".join(name.replace("_", " ") for name in names) + " |", "|" + "---|" * len(names)]
    for row in rows:
        cells = [f"{v:.4f}" if isinstance(v, float) else "yes" if v is True else "" if v is False else str(v)
                 for v in asdict(row).values()]  # fmt: skip
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def write(folder: Path, name: str, rows: list[Measured] | list[Saved]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{name}.md").write_text(table(rows) + "\n", encoding="utf-8")
    with (folder / f"{name}.csv").open("w", encoding="utf-8", newline="") as file:
        out = csv.DictWriter(file, [f.name for f in fields(rows[0])])
        out.writeheader()
        out.writerows(asdict(row) for row in rows)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Coverage and family-wise error of the study, simulated.")
    parser.add_argument("--studies", type=int, default=20_000)
    parser.add_argument("--seeds", type=lambda text: [int(s) for s in text.split(",")], default=[2, 3, 5])
    parser.add_argument("--slice", action="store_true", help="asserted scenarios only")
    parser.add_argument("--out", type=Path, help="folder for simulation.{md,csv} and runs_saved.{md,csv}")
    options = parser.parse_args(arguments)
    scenarios = [s for s in SCENARIOS if s.holds or not options.slice]
    rows = []
    for scenario, seeds in itertools.product(scenarios, options.seeds):
        rows.append(measure(scenario, seeds, options.studies))
        print(f"{scenario.name}, S = {seeds}: coverage {rows[-1].coverage:.4f}", file=sys.stderr)
    saved = [runs_saved(k, min(options.studies, 4000), s) for k, s in ((7, 3), (11, 3), (11, 5), (11, 10), (15, 3))]
    print(table(rows), table(saved), sep="\n\n")
    if options.out:
        write(options.out, "simulation", rows)
        write(options.out, "runs_saved", saved)
    failures = [text for row in rows for text in broken(row, options.slice)]
    failures += [
        f"{s.techniques} techniques: {s.by_variance:.3f} runs saved, {s.predicted:.3f} predicted"
        for s in saved
        if abs(s.by_variance - s.predicted) > 5 * s.by_variance_se + 0.01
    ]
    print("\n".join(failures) or "all bounds hold", file=sys.stderr)
    return 1 if failures else 0


if __name__ == "__main__":
    raise SystemExit(main())
