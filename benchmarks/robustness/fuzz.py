"""Bad input, generated: recipes, knobs, data, files, networks and flags of every kind. Each case trains, or ends in one
line: an EquipoiseError in Python, exit code 2 on the command line. No traceback, no hang, no half of a file.

    python benchmarks/robustness/fuzz.py                       # 20,000 cases
    python benchmarks/robustness/fuzz.py --seconds 40          # as many as fit, of every family (what CI runs)
    python benchmarks/robustness/fuzz.py --only tables --cases 500 --seed 7

Cases are drawn by hypothesis in blocks, each from a seed of its own, and a failing case is shrunk. Prints a Markdown
table; exit code 1 where anything failed.
"""

from __future__ import annotations

import argparse
import sys
import time
import traceback
from collections import Counter
from pathlib import Path
from typing import Any, NamedTuple

sys.path.insert(0, str(Path(__file__).parent))

import torch
from families import FAMILIES, Family
from hypothesis import HealthCheck, Phase, given, seed, settings


class Failure(NamedTuple):
    """A case that broke a promise, shrunk."""

    family: str
    seed: int
    error: str
    case: str

    def __str__(self) -> str:
        return f"{self.family}, block seed {self.seed}: {self.error}\n    {self.case}"


def block(name: str, family: Family, start: int, cases: int) -> tuple[Counter[str], Failure | None]:
    """So many cases from one seed: how they ended, and the first that failed."""
    ended: Counter[str] = Counter()
    smallest: list[Any] = []

    @seed(start)
    @settings(
        max_examples=cases, database=None, deadline=None, suppress_health_check=list(HealthCheck),
        phases=[Phase.generate, Phase.shrink], report_multiple_bugs=False,
    )  # fmt: skip
    @given(family.strategy)
    def one(case: Any) -> None:
        smallest[:] = [case]
        try:
            told = family.run(case)
        except BaseException:
            failed.append(True)
            raise
        if not failed:  # what follows is shrinking
            ended[told] += 1

    failed: list[bool] = []
    try:
        one()
    except Exception as e:
        if getattr(e, "exceptions", ()):  # it failed once and not again: what it failed with
            print("once, and not again:", file=sys.stderr)
            e = e.exceptions[0]  # type: ignore[attr-defined]
        last = traceback.extract_tb(e.__traceback__)[-1]
        where = f"{Path(last.filename).name}:{last.lineno}"
        return ended, Failure(name, start, f"{type(e).__name__} at {where}: {str(e)[:300]}", repr(smallest[0])[:600])
    return ended, None


def run(cases: int, seconds: float, first: int, only: str = "") -> tuple[dict[str, Counter[str]], list[Failure]]:
    """A block of every family in turn, until each has its share of ``cases``, or the first turn and the time are over.
    The first case of a block is the simplest there is, so blocks are not too small."""
    tally = {n: Counter[str]() for n in FAMILIES if only in ("", n)}
    failures: list[Failure] = []
    began, turn = time.monotonic(), 0
    quota = {n: cases * (1.0 if only else FAMILIES[n].share) for n in tally}
    turn_of = 1000 if seconds > 300 else 150  # cases of all families in one turn
    while any(tally[n].total() < quota[n] for n in tally) and time.monotonic() - began < seconds:
        for i, name in enumerate(tally):
            if turn and time.monotonic() - began > seconds:
                break
            if tally[name].total() < quota[name]:
                size = max(6, round(turn_of * FAMILIES[name].share))
                ended, failure = block(name, FAMILIES[name], first + 1000 * turn + i, size)
                tally[name] += ended
                if failure:
                    tally[name]["failed"] += 1
                    failures.append(failure)
                    print(failure, file=sys.stderr, flush=True)
        turn += 1
        done = sum(t.total() for t in tally.values())
        if seconds > 300:
            print(
                f"{done} cases, {len(failures)} failed, {time.monotonic() - began:.0f} s", file=sys.stderr, flush=True
            )
    return tally, failures


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cases", type=int, default=20_000, help="in all; more where a block begins below it")
    parser.add_argument("--seconds", type=float, default=86_400.0, help="begin no block after so long")
    parser.add_argument("--seed", type=int, default=0, help="of the first block")
    parser.add_argument("--only", default="", choices=["", *FAMILIES], help="one family")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    began = time.monotonic()
    tally, failures = run(asked.cases, asked.seconds, asked.seed, asked.only)
    print("| family | cases | trained or read | refused in one line | failed |\n|---|---|---|---|---|")
    for name, t in tally.items():
        print(f"| {name} | {t.total()} | {t['done']} | {t['refused']} | {t['failed']} |")
    total, took = sum(t.total() for t in tally.values()), time.monotonic() - began
    print(f"\n{total} cases in {took:.0f} s, seed {asked.seed}: {len(failures)} failed.")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
