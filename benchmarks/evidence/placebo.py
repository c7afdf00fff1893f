"""What does a study say of a technique that does nothing? Thousands of real networks, trained and judged.

    python benchmarks/evidence/placebo.py [--studies 1000] [--paired 1000] [--aliased 200] [--out FOLDER]

Every study trains small networks on the digits through the cohort engine (all of them one program, compiled once) and
goes through the very code of `equipoise study`: ``prepare`` → the runs → ``effects``, the learning rate fixed.

*calibration*: a placebo that changes nothing beside BatchNorm and Dropout(0.3), full 2³, every run with a seed of its
own (pairing off: paired, a placebo that changes nothing gives identical runs, which the study says without a p value).
Asserted: the rates of p < .01, .05, .10 do not exceed nominal by an exact one-sided binomial test at 1e-6.
*paired*: the same design on paired seeds; this placebo re-keys every noise stream of the runs that have it: start
values, order of the rows, dropout. Asserted: it is flagged (pays or costs) at most at .05 + 5 SE. Its raw p values may
be too small and are reported: its runs share no noise with the others, so that its contrast varies more than those the
pooled error comes from (the simulation's "one effect moves with the seed").
*aliased*, *aliased and re-keyed*: the one and the other as seventh column of the default 2^(7−3), where a main effect
is mixed up with three-factor interactions of the real techniques. Reported. Columns and signs are drawn for each study.

Rows go to ``placebo-PART.csv`` in the folder (default: results) as studies finish; started again, it goes on behind
them. ``--slice``: smaller studies, uncompiled. Exit code 1 if an assertion fails.
"""

from __future__ import annotations

import argparse
import csv
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path

import numpy as np
import torch
from tables import cells, machine, parsed
from tally import Row, Summary, flagged_too_often, page, summary, uncalibrated

import equipoise as eq
from equipoise import rng
from equipoise import techniques as T
from equipoise.feed import Schedule
from equipoise.plan import Member
from equipoise.programs import Workshop
from equipoise.study.effects import COSTS, PAYS, Effects, effects
from equipoise.study.execute import Fallback
from equipoise.study.planned import prepare
from equipoise.technique import Technique
from equipoise.training import train_members

METRIC = "loss"
RESULTS = Path(__file__).parent / "results"


class Placebo(Technique):
    """Changes nothing."""


class Rekeyed(Technique):
    """Changes nothing but the noise: every stream is drawn from another seed, a function of the run's own."""

    def runs(self, seed: int, rows: torch.Tensor) -> list[tuple[int, torch.Tensor]]:
        return [(int(rng.source(seed, "placebo").bits((1,))) & 0x7FFFFFFF, rows)]

    def combine(self, predictions: torch.Tensor) -> torch.Tensor:
        return predictions[0]


TWO = (T.BatchNorm(), T.Dropout(0.3))
SIX = (*TWO, T.WeightDecay(), T.LabelSmoothing(0.1), T.MixUp(0.2), T.RandomAffine())  # the default factors but the last


@dataclass(frozen=True)
class Part:
    """One kind of study. ``first_seed``: parts share no seed. ``paired``: arms share the seeds of their blocks.
    ``violated``: what its studies must not say."""

    name: str
    techniques: tuple[Technique, ...]
    first_seed: int
    violated: Callable[[Summary], list[str]] = lambda found: []
    paired: bool = True
    network: str = "mlp(hidden=(32,))"
    epochs: int = 4
    batch_size: int = 98  # divides the 1,078 fit rows: all batches are of the compiled shape
    seeds: int = 3

    @property
    def placebo(self) -> str:
        return next(type(t).__name__ for t in self.techniques if isinstance(t, Placebo | Rekeyed))

    @property
    def about(self) -> str:
        names = ", ".join(map(repr, self.techniques))
        return (
            f"digits, {self.network}, {self.epochs} epochs of batches of {self.batch_size}, {self.seeds} seeds"
            f"{'' if self.paired else ' per arm, unpaired'}; {names}"
        )

    def seeds_of(self, study: int) -> np.ndarray:
        """Seeds (arms, S) that belong to a study alone; paired, its blocks are the first row."""
        arms = 2 ** min(len(self.techniques), 4)
        first = self.first_seed + study * arms * self.seeds
        return np.arange(first, first + arms * self.seeds).reshape(arms, self.seeds)


PARTS = (
    Part("calibration", (Placebo(), *TWO), 0, uncalibrated, paired=False),
    Part("paired", (Rekeyed(), *TWO), 100_000_000, flagged_too_often),
    Part("aliased", (*SIX, Placebo()), 200_000_000),
    Part("aliased and re-keyed", (*SIX, Rekeyed()), 300_000_000),
)


def small(part: Part) -> Part:
    """The part with smaller studies: 16 or 32 runs of 14 steps."""
    return replace(part, network="mlp(hidden=(16,))", epochs=2, batch_size=154, seeds=2)


@dataclass(frozen=True)
class Bench:
    """What all studies of a part share; programs and compiled steps among it."""

    part: Part
    data: eq.Data
    options: eq.Options
    workshop: Workshop = field(default_factory=Workshop)

    @classmethod
    def of(cls, part: Part, data: eq.Data, compile: str = "always") -> Bench:
        return cls(part, data, eq.Options(device="cpu", compile=compile, progress=False))

    def rows(self, first: int, last: int) -> Iterator[Row]:
        """Studies number ``first`` to ``last`` − 1; up to rounding each is a function of its number alone."""
        for i in range(first, last):
            began = time.perf_counter()
            found = self.study(i)
            yield as_row(self.part, i, found, time.perf_counter() - began)

    def study(self, i: int) -> Effects:
        """Design, runs and effects of study number ``i``."""
        seeds = self.part.seeds_of(i)
        blocks = [int(s) for s in seeds[0]]
        plan = prepare(self.part.network, None, self.data, self.part.techniques, seeds=blocks, lr="fixed", seed=i)
        y = self.scores(plan.arms, np.broadcast_to(seeds[0], seeds.shape) if self.part.paired else seeds)
        return effects(plan.design, {METRIC: y}, primary=METRIC)

    def scores(self, arms: Sequence[eq.Recipe], seeds: np.ndarray) -> np.ndarray:
        """Scores (N, S, n) on `assess` of every arm from its own seeds (N, S), failed runs as the study scores them."""
        schedule = Schedule(self.part.epochs, self.part.batch_size)
        members = [Member(arm, int(s)) for block in seeds.T for arm, s in zip(arms, block, strict=True)]
        runs = train_members(self.part.network, members, self.data, schedule, self.options, workshop=self.workshop)
        fallback = Fallback(self.data)
        y = np.stack([fallback.scores(run, "assess", [METRIC])[METRIC] for run in runs])
        return y.reshape(*seeds.T.shape, -1).swapaxes(0, 1)


def as_row(part: Part, i: int, found: Effects, seconds: float) -> Row:
    r = found.row(part.placebo)
    real = [x.verdict in (PAYS, COSTS) for x in found.rows if x.technique != part.placebo]
    return Row(
        i, r.effect, r.low, r.high, r.se_seed, r.se_example, r.df, r.p, r.p_holm, r.verdict, found.smallest, found.rho,
        sum(real), len(real), seconds,
    )  # fmt: skip


def collect(part: Part, data: eq.Data, n: int, folder: Path, compile: str) -> list[Row]:
    """The first ``n`` studies of a part: those in its file, then new ones, each written as it is finished."""
    path = folder / f"placebo-{part.name.replace(' ', '-')}.csv"
    rows = read(path, part)
    if len(rows) < n:
        with path.open("a", encoding="utf-8", newline="") as file:
            out = csv.writer(file)
            if not rows:
                file.truncate(0)  # what a start cut short has left
                file.write(f"# {part.about}\n")
                out.writerow([f.name for f in fields(Row)])
            for r in Bench.of(part, data, compile).rows(len(rows), n):
                out.writerow(cells(r))
                file.flush()
                if (r.study + 1) % 50 == 0:
                    print(f"{part.name}: {r.study + 1} of {n}", file=sys.stderr, flush=True)
    return read(path, part)[:n]


def read(path: Path, part: Part) -> list[Row]:
    """The studies in a part's file, whole lines only; a file of other studies is refused."""
    if not path.exists() or not path.stat().st_size:
        return []
    about, *lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    if about.strip() != f"# {part.about}":
        raise SystemExit(f"{path.name} holds other studies ({about.strip()}): move it away, or name another --out")
    whole = [line for line in lines if line.endswith("\n")]
    if len(whole) < len(lines):  # it was interrupted while a line was written
        path.write_text("".join([about, *whole]), encoding="utf-8")
    return parsed(Row, whole)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="What real studies say of a technique that does nothing.")
    parser.add_argument("--studies", type=int, default=1000, help="of calibration")
    parser.add_argument("--paired", type=int, default=1000, help="of paired")
    parser.add_argument("--aliased", type=int, default=200, help="of each of the two aliased parts")
    parser.add_argument("--slice", action="store_true", help="smaller studies, uncompiled")
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder for placebo.md and placebo-PART.csv")
    options = parser.parse_args(arguments)
    options.out.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(1)
    data, found, failures = eq.Data.load("digits"), [], []
    for part in PARTS:
        n = {"calibration": options.studies, "paired": options.paired}.get(part.name, options.aliased)
        if n:
            size, compile = (small(part), "never") if options.slice else (part, "always")
            found.append(summary(part.name, collect(size, data, n, options.out, compile)))
            failures += part.violated(found[-1])
    text = f"{page(found)}\n\n{machine()}; {sum(s.seconds for s in found):.0f} s in all."
    print(text)
    (options.out / "placebo.md").write_text(text + "\n", encoding="utf-8")
    print("\n".join(failures) or "all bounds hold", file=sys.stderr)
    return 1 if failures else 0


if __name__ == "__main__":
    raise SystemExit(main())
