"""The page of a study, in the order a reader asks: the verdicts, the evidence for them, how to repeat it."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

from .evidence import effects_section, interactions_section, metrics_section, rates_section, trade_section
from .repeat import caveats_section, design_section, failures_section, repeat_section
from .style import style
from .training import costs_section, curves_section
from .verdicts import opening, recommendation, verdict_table

if TYPE_CHECKING:
    from ..study.finished import Study

_SECTIONS = {
    "effects": ("Effects", effects_section),
    "trade": ("Bias and variance", trade_section),
    "interactions": ("Interactions", interactions_section),
    "rates": ("Learning rate", rates_section),
    "curves": ("Learning curves", curves_section),
    "costs": ("Cost", costs_section),
    "metrics": ("Other metrics", metrics_section),
    "design": ("Design", design_section),
    "failures": ("Failures", failures_section),
    "caveats": ("Caveats", caveats_section),
    "repeat": ("Repeat it", repeat_section),
}
# Whatever a page holds, it may load nothing: not even a mistake in it can reach the network.
_POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"


def study_page(study: Study) -> str:
    """``report.html`` of a finished study: one self-contained page that needs no network and runs no script.

    First the question, the estimand, the verdicts and the recommendation with its confirmation; then every figure with
    its numbers and a CSV, the design, failures, caveats, and everything needed to repeat the study. Light and dark
    follow the reader's system. What a study does not have (half-splits, a ladder, a confirmation) is said, not drawn.
    """
    written = {name: show(study) for name, (_, show) in _SECTIONS.items()}
    links = " ".join(f'<a href="#{name}">{_SECTIONS[name][0]}</a>' for name, text in written.items() if text)
    title = escape(f"Which techniques pay on {study.question['data']}? — Equipoise")
    version = escape(str(study.facts.get("versions", {}).get("equipoise", "")))
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}"><link rel="icon" href="data:,">'
        f"<title>{title}</title><style>{style()}</style></head><body><main>"
        f'{opening(study)}<div class="wide">{verdict_table(study)}</div>{recommendation(study)}'
        f'<nav aria-label="Sections">{links}</nav>{"".join(written.values())}'
        f"<footer>Written by Equipoise {version}. Effects are estimates with intervals; read them as such.</footer>"
        "</main></body></html>\n"
    )
