"""Score the benchmark: recall, false alarms, right first causes, remedies, each with a bootstrap over programs.

    python -m benchmarks.doctor.score held_out.jsonl [--write benchmarks/doctor/results/held_out]

A fault is harmful where the healthy twin of the same seed has the lower loss on `assess` on most seeds; each training
of a harmful fault is a faulty case. What harms nobody is neither faulty nor healthy, and is counted apart.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from .faults import FAULTS

Frame = Any  # a DataFrame or one of its columns: their types tell too little to be checked

RESAMPLES = 10_000
TWIN = "plain"
KEYS = ["program", "what", "severity"]
CLOSED = 0.5  # share of the gap that a remedy closes
PLAIN = 0.10  # a harm of at least a tenth of the twin's loss on every seed: beyond chance


@dataclass(frozen=True)
class Share:
    """k of n, and the 2.5 % and 97.5 % points of k/n over resampled programs."""

    k: int
    n: int
    low: float
    high: float

    @property
    def value(self) -> float:
        return self.k / self.n if self.n else math.nan

    def __str__(self) -> str:
        return f"{self.value:.3f} ({self.k}/{self.n}) [{self.low:.3f}, {self.high:.3f}]"


def read(path: Path) -> Frame:
    """The results with, for every case, its twin's loss, harm, and what the doctor got right."""
    cases: Frame = pd.read_json(path, lines=True)
    for column in ("loss", "mended", "constant"):
        cases[column] = pd.to_numeric(cases[column])
    return labelled(complete(cases))


def complete(cases: Frame) -> Frame:
    """Without faults of which some seeds are still to be run: harm is a matter of all of them."""
    seeds = cases.groupby(KEYS).seed.transform("nunique")
    return cases[(cases.kind == "healthy") | (seeds == seeds.max())]


def labelled(cases: Frame) -> Frame:
    """``twin``, ``harmful``, ``plain harm``, ``found``, ``first``, ``right``, ``closed``: columns from losses and
    findings."""
    twins = cases[cases.what == TWIN].set_index(["program", "seed"]).loss
    cases = cases.assign(twin=[twins.get((p, s), math.nan) for p, s in zip(cases.program, cases.seed, strict=True)])
    fault = cases.kind == "fault"
    worse = cases.assign(worse=cases.loss > cases.twin).groupby(KEYS).worse.transform("mean")
    cases["harmful"] = fault & (worse > 0.5)
    clear = cases.assign(clear=cases.loss > (1 + PLAIN) * cases.twin).groupby(KEYS).clear.transform("all")
    cases["plain harm"] = fault & clear
    cases["found"] = cases.findings.map(len) > 0
    cases["first"] = cases.findings.map(lambda f: f[0][0] if f else "")
    causes = {f.name: f.causes for f in FAULTS}
    cases["right"] = [f in causes.get(w, ()) for f, w in zip(cases["first"], cases.what, strict=True)]
    worst = np.minimum(cases.loss, np.maximum(cases.constant, cases.twin))
    cases["closed"] = closed(worst.to_numpy(float), cases.mended.to_numpy(float), cases.twin.to_numpy(float))
    return cases


def closed(given: np.ndarray, mended: np.ndarray, twin: np.ndarray) -> np.ndarray:
    """(L_given − L_mended)/(L_given − L_twin); NaN where nothing was mended or no gap was. ``given`` is at most what a
    constant loses: to come back from infinity to there is no remedy."""
    gap = given - twin
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where((gap > 0) & ~np.isnan(mended), (given - mended) / gap, np.nan)


def share(cases: Frame, hit: Frame) -> Share:
    """Share of ``cases`` that ``hit``, and its percentile interval over programs drawn with replacement."""
    counts: Frame = pd.DataFrame({"k": hit.astype(int), "n": 1, "program": cases.program}).groupby("program").sum()
    k, n = counts.k.to_numpy(), counts.n.to_numpy()
    if not len(n):
        return Share(0, 0, math.nan, math.nan)
    drawn = np.random.default_rng(0).integers(0, len(n), (RESAMPLES, len(n)))
    low, high = np.quantile(k[drawn].sum(1) / n[drawn].sum(1), [0.025, 0.975])
    return Share(int(k.sum()), int(n.sum()), float(low), float(high))


def summary(cases: Frame, harm: str = "harmful") -> dict[str, Share]:
    """The figures of the issue, for faulty cases of one definition of harm."""
    faulty, healthy = cases[cases[harm]], cases[cases.kind == "healthy"]
    found, tried = faulty[faulty.found], faulty[faulty.closed.notna()]
    return {
        "recall": share(faulty, faulty.found),
        "false alarms": share(healthy, healthy.found),
        "right first cause, of all faulty": share(faulty, faulty.right),
        "right first cause, of those found": share(found, found.right),
        "remedy closes half of the gap": share(tried, tried.closed >= CLOSED),
    }


def baseline(cases: Frame, tool: str) -> dict[str, Share]:
    """Recall and false alarms of a tool's thresholds on the same traces."""
    faulty, healthy = cases[cases.harmful], cases[cases.kind == "healthy"]
    fires: Callable[[Frame], Frame] = lambda c: c[tool].map(len) > 0  # noqa: E731
    return {"recall": share(faulty, fires(faulty)), "false alarms": share(healthy, fires(healthy))}


# --- tables -----------------------------------------------------------------------------------------------------------
def by(cases: Frame, column: str) -> Frame:
    """Faulty cases by fault or program: how many, found, right first, remedies that held."""
    rows = []
    for name, some in cases[cases.kind == "fault"].groupby(column, sort=False):
        faulty = some[some.harmful]
        tried = faulty[faulty.closed.notna()]
        rows.append(
            {
                column: name,
                "cases": len(some),
                "faulty": len(faulty),
                "found": int(faulty.found.sum()),
                "right first": int(faulty.right.sum()),
                "tried": len(tried),
                "half closed": int((tried.closed >= CLOSED).sum()),
                "harmless": len(some) - len(faulty),
                "of these found": int(some[~some.harmful].found.sum()),
            }
        )
    return pd.DataFrame(rows)


def alarms(cases: Frame, columns: Sequence[str] = ("what",)) -> Frame:
    """Healthy runs by control, the doctor's alarms and those of the baselines."""
    healthy = cases[cases.kind == "healthy"]
    fired = healthy.assign(
        runs=1,
        alarms=healthy.found,
        debugger=healthy.debugger.map(len) > 0,
        autotrainer=healthy.autotrainer.map(len) > 0,
    )
    return fired.groupby(list(columns), sort=False)[["runs", "alarms", "debugger", "autotrainer"]].sum().reset_index()


def markdown(table: Frame) -> str:
    lines = ["| " + " | ".join(map(str, table.columns)) + " |", "|" + "---|" * len(table.columns)]
    lines += ["| " + " | ".join(map(str, row)) + " |" for row in table.itertuples(index=False)]
    return "\n".join(lines)


def report(cases: Frame) -> str:
    """All tables as text."""
    healthy, fault = cases[cases.kind == "healthy"], cases[cases.kind == "fault"]
    mean = fault[fault.harmful].groupby("what").found.mean().mean()
    head = (
        f"{cases.program.nunique()} programs, {len(healthy)} healthy runs, {len(fault)} with a fault, of which "
        f"{int(fault.harmful.sum())} are harmful; recall averaged over the faults {mean:.3f}. "
        f"{cases.seconds.sum():.0f} s of processor time."
    )
    rows: list[dict[str, Any]] = [{"figure": k, "share [95 %]": str(v)} for k, v in summary(cases).items()]
    rows += [
        {"figure": f"{k}, plain harm only", "share [95 %]": str(v)} for k, v in summary(cases, "plain harm").items()
    ]
    for tool in ("debugger", "autotrainer"):
        rows += [{"figure": f"{tool}: {k}", "share [95 %]": str(v)} for k, v in baseline(cases, tool).items()]
    parts = [head, markdown(pd.DataFrame(rows)), markdown(by(cases, "what")), markdown(by(cases, "program"))]
    return "\n\n".join([*parts, markdown(alarms(cases)), markdown(alarms(cases, ("program",)))]) + "\n"


def compact(cases: Frame) -> Frame:
    """One row a case, small enough to keep."""
    text = {
        "findings": cases.findings.map(lambda f: " ".join(dict.fromkeys(x[0] for x in f))),
        "proposed": cases.proposed.map(" ".join),
        "debugger": cases.debugger.map(" ".join),
        "autotrainer": cases.autotrainer.map("; ".join),
        "closed": cases.closed.round(3),
        "twin": cases.twin,
    }
    keep = ["case", "part", "kind", "steps", "learned", "loss", "constant", "mended", "harmful", "seconds"]
    return cases[keep].assign(**text)


def main() -> None:
    parser = argparse.ArgumentParser(description="Score the doctor's benchmark.")
    parser.add_argument("results", type=Path)
    parser.add_argument("--write", type=Path, help="path without ending: gets a .md and a .csv")
    given = parser.parse_args()
    cases = read(given.results)
    told = report(cases)
    print(told)
    if given.write:
        given.write.parent.mkdir(parents=True, exist_ok=True)
        given.write.with_suffix(".md").write_text(told, encoding="utf-8")
        compact(cases).to_csv(given.write.with_suffix(".csv"), index=False)


if __name__ == "__main__":
    main()
