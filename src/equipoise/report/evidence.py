"""The evidence behind the verdicts, each as a figure with its numbers: effects, trade, interactions, rates."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from . import numbers as num
from .forest import Line, by_rate, forest
from .markup import Column, Record, csv_link, figure, key, numbers, paragraphs, section, table
from .plots import Arrow, plane
from .verdicts import GLYPHS, in_order, ranked

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..study.finished import Study
    from ..study.tradeoff import TradeRow

_LOSSES = {
    "cross-entropy": "cross-entropy (Bregman information, jackknifed)",
    "zero-one": "zero-one loss (Kohavi and Wolpert)",
}

_KEY = " ".join(
    f'<span class="key {c}"><span aria-hidden="true">{GLYPHS[v]}</span> {v}</span>'
    for v, c in (("pays", "pays"), ("costs", "costs"), ("too small to matter", "small"), ("undecided", "open"))
)


def effects_section(study: Study) -> str:
    """Forest plot of the primary metric's effects, with both parts of every error."""
    found, rows = study.found, ranked(study)
    lines = [
        Line(r.technique, r.effect, r.low, r.high, r.verdict, (r.low_sim, r.high_sim), (r.se_seed, r.se_example))
        for r in rows
    ]
    label = f"Forest plot of {len(rows)} effects on {found.primary}; the numbers are in the table below."
    drawing = forest("forest", label, lines, found.smallest, _axis(study), found.better)
    caption = (
        f'<b>Effects and their errors.</b> <span class="keys">{_KEY}</span> Thick line: 95 % interval; thin line: '
        "simultaneous interval. Below each, plus and minus one standard error of the seeds (unbroken) and of the "
        "examples (broken): the longer one says whether more seeds or more examples would narrow the interval. "
        f"Shaded: ±{found.smallest:.3g}, too small to matter."
    )
    d = num.decimals(r.se for r in rows)
    columns = [
        key("Technique", "technique"),
        Column("Effect", lambda r: num.signed(r["effect"], d)),
        Column("95 % interval", _ends("low", "high", d)),
        Column("Simultaneous", _ends("low_sim", "high_sim", d)),
        Column("SE seeds", lambda r: num.plain(r["se_seed"], d + 1)),
        Column("SE examples", lambda r: num.plain(r["se_example"], d + 1)),
        Column("df", lambda r: num.plain(r["df"], 1)),
        Column("p", lambda r: num.p_value(r["p"])),
        Column("p, Holm", lambda r: num.p_value(r["p_holm"])),
        key("Verdict", "verdict"),
    ]
    below = numbers("forest", "effects and errors", columns, [_record(r) for r in rows])
    return section("effects", "Effects", figure(drawing, caption, below))


def trade_section(study: Study) -> str:
    """What each technique does to bias² and variance, from half-splits."""
    if not study.trades:
        return section(
            "trade",
            "Bias and variance",
            paragraphs("The trade between bias² and variance was not measured in this study (no half-split runs)."),
        )
    trades = in_order(study, study.trades)
    n = trades[0].n
    arrows = [
        Arrow(
            t.technique,
            (t.bias2, t.bias2_low, t.bias2_high),
            (t.variance, t.variance_low, t.variance_high),
            "pays" if t.profitable else "costs" if t.risk_low > 0 else "",
        )
        for t in trades
    ]
    drawing = plane(
        "plane",
        "Plane of the changes of bias² and variance, an arrow per technique; numbers in the table below.",
        arrows,
    )
    caption = (
        f"<b>What each technique trades</b>, for this data set, at n/2 = {n} training rows: an arrow from “off” to "
        "“on”, with 95 % intervals as thin crosses, in the squared loss of the predictions. Left is less bias², down "
        "is less variance; below the broken "
        'diagonal (shaded) their sum, the risk, falls. <span class="key pays">Unbroken blue: profitable</span>, the '
        "risk interval lies below "
        'zero and the effect at the full size points the same way; <span class="key costs">unbroken orange: the risk '
        "rises</span>; broken grey: neither is shown."
    )
    below = _trade_table("trade", f"bias² and variance at n/2 = {n}", trades)
    beside = [
        _trade_table(f"trade-{form}", f"the same in {_LOSSES.get(form, form)}", in_order(study, rows))
        for form, rows in study.forms.items()
    ]
    return section("trade", "Bias and variance", figure(drawing, caption, below), *beside)


def _trade_table(name: str, caption: str, trades: Sequence[TradeRow]) -> str:
    d = num.decimals((t.risk_high - t.risk_low) / 4 for t in trades)
    columns = [key("Technique", "technique")]
    for title, part in (("Bias²", "bias2"), ("Variance", "variance"), ("Risk", "risk")):
        columns.append(Column(title, lambda r, k=part: num.signed(r[k], d)))
        columns.append(Column("95 % interval", _ends(f"{part}_low", f"{part}_high", d)))
    columns += [key("Class", "class"), Column("Profitable", lambda r: "yes" if r["profitable"] else "no", number=False)]
    return numbers(name, caption, columns, [t.as_json() for t in trades])


def interactions_section(study: Study) -> str:
    """Declared interactions, each with what it is mixed up with."""
    rows = study.found.interactions
    if not rows:
        return section(
            "interactions",
            "Interactions",
            paragraphs(
                "No interaction was declared beforehand, so none is estimated. An effect above averages over the "
                "other techniques."
            ),
        )
    found = study.found
    lines = [
        Line("×".join(r.techniques), r.effect, r.low, r.high, "undecided" if math.isfinite(r.p) else "") for r in rows
    ]
    drawing = forest(
        "interactions",
        f"Forest plot of {len(rows)} interactions; the numbers are in the table below.",
        lines,
        found.smallest,
        f"interaction in {found.primary}",
        found.better,
    )
    caption = (
        "<b>Declared interactions</b>: half the difference between one technique’s effect with the other on and with "
        "it off, with 95 % intervals. On the better side the two help one another; they carry no verdict of their "
        "own."
    )
    d = num.decimals((r.high - r.low) / 4 for r in rows)
    columns = [
        key("Techniques", "techniques"),
        Column("Interaction", lambda r: num.signed(r["effect"], d)),
        Column("95 % interval", _ends("low", "high", d)),
        Column("p", lambda r: num.p_value(r["p"])),
        Column("p, Holm", lambda r: num.p_value(r["p_holm"])),
        key("Aliased with", "alias"),
    ]
    records = [{**r.as_json(), "techniques": " × ".join(r.techniques), "p_holm": r.p_holm} for r in rows]
    return section(
        "interactions",
        "Interactions",
        figure(drawing, caption, numbers("interactions", "interactions and aliases", columns, records)),
    )


def rates_section(study: Study) -> str:
    """Effects at every fixed rate of the ladder, or that there was none."""
    title = "Learning rate"
    if len(study.rates) < 2 or not study.by_rate:
        factor = study.rates[0] if study.rates else 1.0
        text = (
            f"One fixed learning rate was used, ×{factor:g} of each recipe’s own. A technique that needs another rate "
            "is judged at this one; the ladder judges every arm at its own best rate."
        )
        return section("rates", title, paragraphs(text))
    found, effects = study.found, in_order(study, study.by_rate)
    rows = [
        (r.technique, [Line(f"×{x:g}", *e) for x, *e in zip(r.rates, r.effect, r.low, r.high, strict=True)])
        for r in effects
    ]
    drawing = by_rate(
        "rates",
        "Effects at each fixed learning rate; the numbers are in the table below.",
        rows,
        found.smallest,
        f"effect on {found.primary} at a fixed rate",
        found.better,
    )
    shapes = "▽●△◆□"
    named = ", ".join(f"{shapes[i % 5]}\u00a0×{x:g}" for i, x in enumerate(study.rates))
    caption = (
        f"<b>Effect at each fixed rate</b> (factor on the optimizer’s own rate): {named}; lines are 95 % intervals. "
        "The verdicts above compare every arm at its own best rate, chosen for each seed by the <code>stop</code> "
        "loss of the other seeds. An effect that moves with the rate (technique × rate, from the lowest rate to the "
        "highest) is a matter of the rate as much as of the technique. Plain intervals, outside of the family that "
        "Holm’s correction covers."
    )
    d = num.decimals(h - e for r in effects for e, h in zip(r.effect, r.high, strict=True))
    columns = [key("Technique", "technique")]
    for x in study.rates:
        columns.append(Column(f"at ×{x:g}", lambda r, k=f"effect at {x:g}": num.signed(r[k], d)))
        columns.append(Column("95 % interval", _ends(f"low at {x:g}", f"high at {x:g}", d)))
    columns += [
        Column("Technique × rate: change, lowest to highest", lambda r: num.signed(r["change"], d)),
        Column("95 % interval", _ends("change_low", "change_high", d)),
        Column("p", lambda r: num.p_value(r["change_p"])),
        key("Where", "note"),
    ]
    below = numbers("rates", "effects at each fixed rate", columns, [_rate_record(r) for r in effects])
    notes = [f"{r.technique} {r.note}." for r in effects if r.note]
    return section("rates", title, figure(drawing, caption, below), paragraphs(" ".join(notes)))


def metrics_section(study: Study) -> str:
    """Effects on the metrics that carry no verdict."""
    names = list(dict.fromkeys(r.metric for r in study.found.rows if r.metric != study.found.primary))
    if not names:
        return ""
    rows = {(r.technique, r.metric): r for r in study.found.rows}
    digits = {m: num.decimals(r.se for r in study.found.rows if r.metric == m) for m in names}
    columns = [key("Technique", "technique")]
    better = {r.metric: r.better for r in study.found.rows}
    for m in names:
        columns.append(Column(f"{m} ({better[m]} is better)", lambda r, m=m: num.signed(r[m], digits[m])))
        columns.append(Column("95 % interval", _ends(f"{m} low", f"{m} high", digits[m])))
    records: list[Record] = []
    for primary in ranked(study):
        record: dict[str, Any] = {"technique": primary.technique}
        for m in names:
            r = rows[primary.technique, m]
            record |= {m: r.effect, f"{m} low": r.low, f"{m} high": r.high}
        records.append(record)
    return section(
        "metrics",
        "Other metrics",
        paragraphs(
            "Plain 95 % intervals; no verdict of their own, and not part of the family that Holm’s correction covers."
        ),
        table("Effects on the other metrics", columns, records),
        f"<p>{csv_link('metrics', records)}</p>",
    )


def _axis(study: Study) -> str:
    what = num.unit(study.found.primary)
    return f"effect on {study.found.primary}{f', {what}' if what else ''}"


def _ends(low: str, high: str, d: int) -> Any:
    return lambda r: num.between(r[low], r[high], d)


def _record(r: Any) -> dict[str, Any]:
    return r.as_json() | {"se": r.se, "advice": r.advice}


def _rate_record(r: Any) -> dict[str, Any]:
    at: dict[str, Any] = {"technique": r.technique}
    for x, *values in zip(r.rates, r.effect, r.low, r.high, strict=True):
        at |= {f"{name} at {x:g}": v for name, v in zip(("effect", "low", "high"), values, strict=True)}
    return at | {k: getattr(r, k) for k in ("change", "change_low", "change_high", "change_p", "note")}
