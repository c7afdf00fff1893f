"""What a diagnosis found, in words: symptom, place, number, threshold, remedy; and what the rules say of a figure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape
from typing import TYPE_CHECKING, Any

from .. import probes
from ..recipe import Recipe
from . import numbers as num
from .markup import code, paragraphs, terms

if TYPE_CHECKING:
    from ..doctor.diagnose import Diagnosis
    from ..probe import Finding, Measure
    from ..technique import Technique


def headline(d: Diagnosis) -> str:
    return "Nothing is wrong with this training set-up" if d.ok else f"First cause: {d.findings[0].symptom}"


def answer(d: Diagnosis) -> str:
    looked = f"{len(d.measures)} measures over {d.steps} steps, {num.duration(d.seconds)}"
    if d.ok:
        return f"No rule was broken: {looked}."
    first = d.findings[0]
    more = len(d.findings) - 1
    others = f" {more} more finding{'s' * (more != 1)} below." if more else ""
    return f"At <b>{escape(first.where)}</b>: {_value(first)}.{others} From {looked}."


def _value(f: Finding | Measure) -> str:
    threshold = "" if f.threshold is None else f", threshold {number(f.threshold)}"
    return f"{escape(f.unit)}: {number(f.value)}{threshold}"


def number(v: float) -> str:
    return "not a number" if math.isnan(v) else f"{v:.4g}".replace("-", "−").replace("inf", "∞")


def percent(v: float) -> str:
    return f"{num.plain(100 * v, 0)} %"


def findings(d: Diagnosis) -> str:
    if d.ok:
        return paragraphs("A healthy set-up has no findings. What was measured stands below, with the thresholds.")
    groups: dict[tuple[str, str], list[Finding]] = {}
    for f in d.findings:
        groups.setdefault((f.probe, f.symptom), []).append(f)
    found = {f.probe for f in d.findings}
    each = [_finding(same, sorted(found & set(probes.find(probe).follows))) for (probe, _), same in groups.items()]
    return each[0] + ("" if d.mended is None else _mended(d)) + "".join(each[1:])


def _finding(same: Sequence[Finding], causes: Sequence[str]) -> str:
    """One symptom, at all places where it was found."""
    f = same[0]
    where = f.where if len(same) == 1 else "; ".join(f"{v.where} ({number(v.value)})" for v in same)
    pairs = [("Where", where), ("Why this threshold", f.reason), ("Known false alarms", f.false_alarms)]
    pairs += [("May follow from", num.listed(words(c) for c in causes))] if causes else []
    pairs += [("Source", f.source), ("Instrument", words(f.probe))]
    entries = "".join(f"- {_entry(t)}\n" for t in f.proposed)
    course = "".join(f"{k}={v!r}\n" for k, v in f.course.items())
    what = "What mends it" if not causes else "What to try should it stay once its causes are mended"
    remedy = code(f"{what}, as entries of the recipe", entries) if entries else ""
    remedy += code(f"{what}, in the course of training", course) if course else ""
    if not remedy:
        remedy = paragraphs("No recipe entry mends this; the reason above says what does.")
    return (
        f'<article class="finding {f.severity}"><h3>{escape(_sentence(f.symptom))} <small>{f.severity}</small></h3>'
        f'<p class="number">{_value(f)}</p>{terms(pairs)}{remedy}</article>'
    )


def _entry(t: Technique) -> str:
    """An entry as a recipe file has it, on one line, numbers to four figures."""
    entry = Recipe(t).to_list()[0]
    if isinstance(entry, str):
        return entry
    ((name, values),) = entry.items()
    return f"{name}: {{{', '.join(f'{k}: {_short(v)}' for k, v in values.items())}}}"


def _short(v: Any) -> str:
    return f"{v:.4g}" if isinstance(v, float) else str(v)


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:]


def _mended(d: Diagnosis) -> str:
    m = d.mended
    assert m is not None
    if not all(map(math.isfinite, (m.gap_closed, m.low, m.high))):
        text = "The rerun with what is proposed came to a loss that is not finite: it is not shown to be a remedy."
    else:
        verdict = "It is a remedy." if m.remedy else "It is not shown to be a remedy."
        text = (
            f"Trained again with what the first causes propose, on {m.seeds} paired seeds, {percent(m.gap_closed)} of "
            f"the loss on stop goes (95 % interval {percent(m.low)} to {percent(m.high)}). {verdict}"
        )
    return f'<article class="finding tried"><h3>Tried</h3>{paragraphs(text)}</article>'


def words(probe: str) -> str:
    return probe.replace("_", " ")


def _at(same: Sequence[Finding]) -> str:
    f, more = same[0], len(same) - 1
    places = f"{f.where} and {more} more" if more else f.where
    return f"{escape(_sentence(f.symptom))} at {escape(places)} ({_value(f)})."


def verdict(d: Diagnosis, *names: str, units: Sequence[str] = ()) -> str:
    """What the rules of these probes say: their findings, or the numbers they read."""
    by_symptom: dict[str, list[Finding]] = {}
    for f in d.findings:
        if f.probe in names:
            by_symptom.setdefault(f.symptom, []).append(f)
    if by_symptom:
        return f"<b>Found.</b> {' '.join(_at(same) for same in by_symptom.values())}"
    read = [m for m in d.measures if m.probe in names and m.unit in units and m.threshold is not None]
    each = {m.unit: m for m in read}.values()  # of a unit that many layers have, the last layer's
    if not read:
        return "<b>Nothing found</b>; no rule had a number to read here."
    return f"<b>Nothing found.</b> {'; '.join(_value(m) for m in each)}."
