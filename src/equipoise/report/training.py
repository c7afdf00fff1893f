"""How the runs went: learning curves by arm, and what each technique costs in time."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING, Any

import numpy as np

from . import numbers as num
from .markup import Column, Record, csv_link, figure, key, numbers, paragraphs, section, table
from .plots import Curve, bounds, curves

if TYPE_CHECKING:
    from ..study.finished import Study


def curves_section(study: Study) -> str:
    """Loss on ``stop`` by epoch of every arm; the arm nearest to all off and the one nearest to the recommended "
    "named."""
    rates = _rates(study)
    every = [_curve(study, c, int(rate)) for c, rate in enumerate(rates)]
    drawn = [c for c in every if np.isfinite(c.mean).any()]
    if not drawn:
        return section("curves", "Learning curves", paragraphs("No run left a curve of the stop loss."))
    named = _named(study)
    arms = ", ".join(f"“{text}” is configuration {c + 1}{exact}" for text, c, exact in named)
    lengths = len({len(h) for per_rate in study.trained.histories for seeds in per_rate for h in seeds}) > 1
    top = bounds(drawn)[1]
    outside = sum(bool((c.mean[np.isfinite(c.mean)] > top).any()) for c in drawn)
    at = "at the rate with its lowest mean stop loss" if len(study.rates) > 1 else f"at rate {_factors(study)}"
    drawing = curves(
        "curves",
        "Learning curves of all configurations; the numbers are in the table below.",
        drawn,
        [(text, every[c]) for text, c, _ in named if np.isfinite(every[c].mean).any()],
        "loss on the stop rows",
    )
    caption = (
        "<b>Loss on the <code>stop</code> rows by epoch</b>, clean samples in prediction mode. Thin lines: all "
        f"{len(every)} configurations, mean over seeds, each {at}. {escape(arms)}; their bands run from the lowest to "
        f"the highest of {len(study.seeds)} seeds."
    )
    caption += " Runs that stopped early leave the mean of those still training." if lengths else ""
    caption += (
        f" {outside} of the curves leave{'s' * (outside == 1)} the frame at the top; the table has all."
        if outside
        else ""
    )
    return section("curves", "Learning curves", figure(drawing, caption, _curve_table(study, every, rates)))


def costs_section(study: Study) -> str:
    """What each technique costs: time in the study's runs, and time and memory of a step of one run by itself."""
    seconds, design = study.trained.seconds, study.design
    alone = {r["technique"]: r for r in study.facts.get("costs", ())}
    alone = alone if alone.keys() >= set(design.rows) else {}
    records: list[dict[str, Any]] = []
    for k, factor in enumerate(design.factors):
        for level, name in enumerate(factor.rows, 1):
            on, off = (float(seconds[design.matrix[:, k] == v].mean()) for v in (level, 0))
            records.append({"technique": name, "seconds on": on, "seconds off": off, **alone.get(name, {})})
    d = num.decimals(r["seconds on"] / 10 for r in records)
    columns = [
        key("Technique", "technique"),
        Column("Run with it, s", lambda r: num.plain(r["seconds on"], d)),
        Column("Without, s", lambda r: num.plain(r["seconds off"], d)),
        _ratio("seconds"),
    ]
    if alone:
        e = num.decimals(1e3 * r["step seconds on"] / 10 for r in records)
        m = num.decimals(r["bytes on"] / 1e6 / 10 for r in records)
        columns += [
            Column("Step alone, ms", lambda r: num.plain(1e3 * r["step seconds on"], e)),
            _ratio("step seconds"),
            Column("Memory alone, MB", lambda r: num.plain(r["bytes on"] / 1e6, m)),
            _ratio("bytes"),
        ]
    share = (
        "Runs that train in one stack share its time evenly, so a technique whose runs share a stack with those "
        "without it shows no cost in the first columns. "
    )
    share += (
        "Step and memory are those of one run by itself, eagerly, with this technique and without any, before the "
        "study: the fastest of five steps; parameters, optimizer state, gradients and what the forward pass saves for "
        "the backward pass, counted. Measured once, on a machine that may do other work: a guide, not a benchmark."
        if alone
        else "Measured once, while the study ran: a guide, not a benchmark. Memory was not measured."
    )
    return section(
        "costs",
        "Cost in time and memory",
        table("Of a run, the mean over all other techniques, rates and seeds; of a step alone", columns, records),
        f"<p>{csv_link('costs', records)}</p>",
        paragraphs(share),
    )


def _ratio(name: str) -> Column:
    """What is measured with a technique over what is measured without it."""

    def show(r: Record) -> str:
        on, off = r[f"{name} on"], r[f"{name} off"]
        return f"{num.plain(on / off if off else None, 2)}×"

    return Column("Ratio", show)


def _factors(study: Study) -> str:
    return ", ".join(f"×{rate:g}" for rate in study.rates)


def _rates(study: Study) -> np.ndarray:
    stop = np.where(np.isfinite(study.trained.stop), study.trained.stop, np.inf)
    return stop.mean(-1).argmin(-1)


def _named(study: Study) -> list[tuple[str, int, str]]:
    """Name, configuration, and by how many factors it differs, of the arms nearest to all off and to the "
    "recommended."""
    matrix = study.design.matrix
    wanted = {"all off": np.zeros(matrix.shape[1], dtype=int)}
    if any(study.recommendation.levels):
        wanted["recommended"] = np.array(study.recommendation.levels)
    found: dict[int, tuple[str, int, str]] = {}
    for name, levels in wanted.items():
        differ = (matrix != levels).sum(1)
        c = int(differ.argmin())
        exact = (
            "" if differ[c] == 0 else f" (not run itself; the nearest, {int(differ[c])} of {len(levels)} factors apart)"
        )
        text = name if differ[c] == 0 else f"nearest to {name}"
        found[c] = (text, c, exact) if c not in found else (f"{found[c][0]} and {text}", c, exact or found[c][2])
    return list(found.values())


def _curve(study: Study, c: int, rate: int) -> Curve:
    histories = study.trained.histories[c][rate]
    epochs = max((len(h) for h in histories), default=0)
    loss = np.full((len(histories), epochs), np.nan)
    for row, history in zip(loss, histories, strict=True):
        row[: len(history)] = [h.get("stop_loss", np.nan) for h in history]
    loss[~np.isfinite(loss)] = np.nan
    there = np.isfinite(loss)
    count = there.sum(0)
    with np.errstate(divide="ignore", invalid="ignore"):
        mean = np.where(count > 0, np.where(there, loss, 0.0).sum(0) / count, np.nan)
    low = np.where(count > 0, np.where(there, loss, np.inf).min(0, initial=np.inf), np.nan)
    high = np.where(count > 0, np.where(there, loss, -np.inf).max(0, initial=-np.inf), np.nan)
    return Curve(np.arange(1, epochs + 1), mean, low, high)


def _curve_table(study: Study, every: list[Curve], rates: np.ndarray) -> str:
    records, full = [], []
    for c, curve in enumerate(every):
        arm = {"configuration": c + 1, "on": _on(study, c), "rate": f"×{study.rates[int(rates[c])]:g}"}
        last = np.flatnonzero(np.isfinite(curve.mean))
        first, final = (float(curve.mean[last[i]]) if len(last) else float("nan") for i in (0, -1))
        lowest = float(np.nanmin(curve.mean)) if len(last) else float("nan")
        records.append(arm | {"first": first, "lowest": lowest, "last": final, "epochs": len(curve.epochs)})
        for e, *values in zip(curve.epochs, curve.mean, curve.low, curve.high, strict=True):
            numbers_of = {k: f"{v:.6g}" for k, v in zip(("mean", "lowest seed", "highest seed"), values, strict=True)}
            full.append({"configuration": c + 1, "rate": arm["rate"], "epoch": int(e), **numbers_of})
    columns = [
        key("Configuration", "configuration"),
        key("On", "on"),
        key("Rate", "rate"),
        *(
            Column(t, lambda r, k=k: num.plain(r[k], 4))
            for t, k in (("First epoch", "first"), ("Lowest", "lowest"), ("Last epoch", "last"))
        ),
        Column("Epochs", lambda r: str(r["epochs"])),
    ]
    return numbers("curves", "stop loss by configuration, every epoch in the CSV", columns, records, full)


def _on(study: Study, c: int) -> str:
    names = [f.rows[level - 1] for f, level in zip(study.design.factors, study.design.matrix[c], strict=True) if level]
    return ", ".join(names) or "all off"
