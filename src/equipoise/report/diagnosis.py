"""The page of a diagnosis: what is wrong, why and what mends it; then every figure with its verdict and numbers."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

from .diagnosis_figures import by_layer, by_step, column
from .findings import answer, findings, headline, number, words
from .markup import Column, code, csv_link, key, paragraphs, section, table, terms
from .page import _POLICY
from .style import style

if TYPE_CHECKING:
    from ..doctor.diagnose import Diagnosis

_RULES = """
.finding.tried{border-left-color:var(--pays)}
.finding{border-left:3px solid var(--costs);padding-left:1.25rem;margin:2rem 0 0}
.finding.warning{border-left-color:var(--muted)}
.finding h3{margin:0 0 .6rem}
.finding h3 small{display:inline;font:600 .78rem/1 var(--sans);letter-spacing:.06em;text-transform:uppercase}
.finding .number{font:600 1.15rem/1.4 var(--sans);margin:0 0 .8rem}
"""


def diagnosis_page(d: Diagnosis) -> str:
    """``doctor.html``: one self-contained page that needs no network and runs no script; light and dark follow the
    reader's system. Findings first, what they follow from marked; then figures by layer and by step, each with what the
    rules say of it and its numbers; all measures; the set-up that was judged."""
    sections = {
        "findings": ("Findings", findings(d)),
        "layers": ("By layer", by_layer(d)),
        "steps": ("By step", by_step(d)),
        "measures": ("All measures", _measures(d)),
        "setup": ("The set-up", _setup(d)),
    }
    links = " ".join(f'<a href="#{name}">{title}</a>' for name, (title, _) in sections.items())
    body = "".join(section(name, title, text) for name, (title, text) in sections.items())
    name = f" of {d.about['data']}" if "data" in d.about else ""
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}"><link rel="icon" href="data:,">'
        f"<title>{escape(f'Diagnosis{name} — Equipoise')}</title><style>{style()}{_RULES}</style></head><body><main>"
        f'<header><p class="kicker">Equipoise doctor</p><h1>{escape(headline(d))}</h1>'
        f'<p class="answer">{answer(d)}</p></header><nav aria-label="Sections">{links}</nav>{body}'
        "<footer>Written by Equipoise. A finding is a rule that a number broke; its known false alarms stand beside it."
        "</footer></main></body></html>\n"
    )


def _measures(d: Diagnosis) -> str:
    records = [m.to_dict() for m in d.measures]
    columns = [
        Column("Instrument", lambda r: words(r["probe"]), number=False),
        key("Where", "where"),
        column("Value", "value"),
        key("What", "unit"),
        Column("Threshold", lambda r: "" if r["threshold"] is None else number(r["threshold"])),
    ]
    return (
        paragraphs("Thresholds stand where a rule reads the number; most rules also ask how far training came.")
        + f'<details class="numbers"><summary>Table: {len(records)} measures</summary>'
        + table("All measures", columns, records)
        + f"</details><p>{csv_link('measures', records)}</p>"
    )


def _setup(d: Diagnosis) -> str:
    pairs = [(k.capitalize(), str(v)) for k, v in d.about.items()]
    return terms([*pairs, ("Steps", str(d.steps))]) + code("Recipe", d.recipe.to_yaml())
