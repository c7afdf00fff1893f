"""The first screen: the question, what is estimated, the verdicts, and what is recommended."""

from __future__ import annotations

import math
from collections.abc import Iterable
from html import escape
from typing import TYPE_CHECKING, TypeVar

from . import numbers as num
from .markup import csv_link, paragraphs

if TYPE_CHECKING:
    from ..study.effects import EffectRow
    from ..study.finished import Study
    from ..study.rates import RateRow
    from ..study.recommend import Confirmation
    from ..study.tradeoff import TradeRow

    Row = TypeVar("Row", TradeRow, RateRow)

ESTIMAND = (
    "average effect over the other techniques, for this training set and this learning-rate rule, over new seeds and "
    "new examples of the same source"
)
GLYPHS = {"pays": "●", "costs": "■", "too small to matter": "○", "undecided": "◇"}
_CLASSES = {"pays": "pays", "costs": "costs", "too small to matter": "small", "undecided": "open"}
_SAID = (
    ("pays", "pays", "pay"),
    ("costs", "costs", "cost"),
    ("too small to matter", "is too small to matter", "are too small to matter"),
    ("undecided", "is undecided", "are undecided"),
    (
        "no effect: identical runs",
        "changed nothing: its runs are identical",
        "changed nothing: their runs are identical",
    ),
)


def ranked(study: Study) -> list[EffectRow]:
    """The primary metric's effects, the most useful first; those without a number last."""
    sign = 1.0 if study.found.better == "lower" else -1.0
    rows = [r for r in study.found.rows if r.metric == study.found.primary]
    return sorted(rows, key=lambda r: sign * r.effect if math.isfinite(r.effect) else math.inf)


def in_order(study: Study, rows: Iterable[Row]) -> list[Row]:
    """Rows of single techniques in the order of the verdicts."""
    place = {r.technique: i for i, r in enumerate(ranked(study))}
    return sorted(rows, key=lambda row: place[row.technique])


def entries(study: Study) -> dict[str, str]:
    """The recipe entry behind every effect: ``Dropout`` → ``Dropout(p=0.3)``."""
    found = {}
    for f in study.design.factors:
        against = "" if f.levels[0] == "none" else f" instead of {f.levels[0].removesuffix('()')}"
        found |= {row: level.removesuffix("()") + against for row, level in zip(f.rows, f.levels[1:], strict=True)}
    return found


def opening(study: Study) -> str:
    """The question, the answer in one sentence each, and the estimand."""
    q, found = study.question, study.found
    asked = num.listed(entries(study).values())
    what = num.unit(found.primary)
    return (
        f'<header><p class="kicker">Equipoise study</p><h1>Which techniques pay on {escape(str(q["data"]))}?</h1><p '
        f'class="answer">{_answer(study)}</p></header>'
        f"<p><b>The question.</b> Which of {escape(asked)} pay for <code>{escape(str(q['model']))}</code> on "
        f"{escape(str(q['data']))}, judged by <b>{escape(found.primary)}</b>{f' ({what})' if what else ''}, of which "
        f"<b>{found.better} is better</b>, where less than {found.smallest:.3g} does not matter? With every technique "
        f"off it is {found.baseline:.4g}.</p><p><b>What is estimated:</b> {ESTIMAND}.</p>"
    )


def verdict_table(study: Study) -> str:
    """A row per technique; on a narrow screen each row becomes a card."""
    rows, found = ranked(study), study.found
    d = num.decimals(r.se for r in rows)
    trades = {t.technique: t for t in study.trades}
    what = entries(study)
    titles = [
        "Technique",
        "Verdict",
        f"Effect on {found.primary}",
        "95 % interval",
        "Simultaneous interval",
        "Standard error",
        "Trade",
        "Alias",
    ]
    head = "".join(f'<th scope="col" role="columnheader">{escape(t)}</th>' for t in titles)
    body = "".join(_row(r, what.get(r.technique, ""), trades.get(r.technique), d, titles) for r in rows)
    caption = (
        f"Effect: mean {found.primary} with the technique minus mean without it. The simultaneous intervals hold all "
        f"together with 95 %; verdicts follow Holm’s correction over {len(rows) + len(found.interactions)} estimates."
    )
    return (
        '<div class="scroll" role="region" aria-label="Verdicts" tabindex="0"><table class="verdicts" '
        f'role="table"><caption>{escape(caption)}</caption><thead role="rowgroup"><tr '
        f'role="row">{head}</tr></thead><tbody role="rowgroup">{body}</tbody></table></div>'
        f"<p>{csv_link('effects', [r.as_json() | {'se': r.se, 'advice': r.advice} for r in found.rows])}</p>"
    )


def recommendation(study: Study) -> str:
    """What to use, why, and what fresh runs said about it."""
    c, choice = study.confirmation, study.recommendation
    chosen = [f.rows[level - 1] for f, level in zip(study.design.factors, choice.levels, strict=True) if level > 0]
    names = num.listed(chosen)
    if c is None:
        text = "Use the baseline: no technique was shown to gain more than what matters."
    elif not chosen:
        word = "confirmed" if c.confirmed else "did not confirm"
        text = f"No technique is recommended, only another learning rate, which fresh runs {word}."
    elif c.confirmed:
        text = f"Use {names}: recommended by the design, and confirmed by fresh runs."
    else:
        text = f"Use the baseline: the design recommends {names}, but fresh runs did not confirm it."
    parts = [f"<p><b>{escape(text)}</b>{_predicted(study) if chosen else ''}</p>", _confirmation(study, c)]
    recipe = "the candidate" if study.recommended == study.candidate and c is not None else "the baseline"
    looks = f"The test rows were looked at {_times(study.test_looks)}."
    why = "".join(f"<li>{escape(w)}</li>" for w in choice.why)
    return (
        f'<div class="recommended">{"".join(parts)}{paragraphs(f"recipe.yaml is {recipe}:")}<pre tabindex="0" '
        f'aria-label="The recipe to use"><code>{escape(study.recommended.to_yaml())}</code></pre>'
        f"<details><summary>Why each technique is in or out</summary><ul>{why}</ul></details>{paragraphs(looks)}</div>"
    )


def _answer(study: Study) -> str:
    rows = ranked(study)
    said = []
    for verdict, one, many in _SAID:
        names = [f"<b>{escape(r.technique)}</b>" for r in rows if r.verdict == verdict]
        if names:
            said.append(
                f'<span class="{_CLASSES.get(verdict, "open")}">{num.listed(names)} '
                f"{one if len(names) == 1 else many}.</span>"
            )
    return " ".join(said)


def _row(r: EffectRow, entry: str, trade: TradeRow | None, d: int, titles: list[str]) -> str:
    glyph = GLYPHS.get(r.verdict, "=")
    advice = f"<small>{escape(r.advice)}</small>" if r.advice else ""
    shown = "" if entry == r.technique else f"<small><code>{escape(entry)}</code></small>"
    parts = (
        f'<span class="once">seeds {num.plain(r.se_seed, d)},</span> '
        f'<span class="once">examples {num.plain(r.se_example, d)}</span>'
    )
    error = f"± {num.plain(r.se, d)}:<small>{parts}</small>"
    kind = "not measured" if trade is None else trade.kind
    gain = "" if trade is None else f"<small>{'profitable' if trade.profitable else 'not profitable'}</small>"
    cells = [
        f'<span class="verdict {_CLASSES.get(r.verdict, "open")}"><span aria-hidden="true">{glyph}</span> '
        f"{escape(r.verdict)}</span>{advice}",
        f'<span class="effect">{num.signed(r.effect, d)}</span><small class="once">{r.better} is better</small>',
        num.between(r.low, r.high, d),
        num.between(r.low_sim, r.high_sim, d),
        "no error: identical runs" if math.isnan(r.p) and r.se == 0.0 else error,
        f"{escape(kind)}{gain}",
        escape(r.alias or "none listed"),
    ]
    columns = "".join(
        f'<td role="cell" data-label="{escape(t, quote=True)}"><div>{c}</div></td>'
        for t, c in zip(titles[1:], cells, strict=True)
    )
    return f'<tr role="row"><th scope="row" role="rowheader">{escape(r.technique)}{shown}</th>{columns}</tr>'


def _predicted(study: Study) -> str:
    choice = study.recommendation
    return (
        f" The design predicts {escape(study.found.primary)} {num.plain(choice.predicted, 4)} on the assessment rows, "
        f"a gain of {num.plain(choice.gain, 4)} after shrinking each gain by its own error."
    )


def _confirmation(study: Study, c: Confirmation | None) -> str:
    if c is None:
        return paragraphs("No confirmation was run, as there was nothing to confirm.")
    d = num.decimals([(c.high - c.low) / 4, abs(c.difference) / 10])
    rho = f" The two correlate over seeds with ρ = {num.plain(c.rho, 2)}." if math.isfinite(c.rho) else ""
    if c.confirmed:
        word, end = "Confirmed", "The 95 % interval lies wholly on the better side."
    else:
        word = "Not confirmed"
        end = (
            "The 95 % interval does not lie wholly on the better side, so the baseline stands; the candidate is in "
            "recipe.candidate.yaml."
        )
    return (
        f'<p><span class="verdict {"pays" if c.confirmed else "open"}"><span '
        f'aria-hidden="true">{"●" if c.confirmed else "◇"}</span> '
        f"{word}</span> On {c.seeds} fresh seeds and the test rows: {escape(c.metric)} {num.plain(c.recommended, d)} "
        f"recommended, {num.plain(c.baseline, d)} baseline, difference {num.signed(c.difference, d)} "
        f"{num.between(c.low, c.high, d)}. {end}{rho}</p>"
    )


def _times(n: int) -> str:
    return {0: "not once", 1: "once", 2: "twice"}.get(n, f"{n} times")
