"""What commands print for people: tables with rich, or JSON."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import Any


def emit_json(value: Any) -> None:
    from ..files import to_json

    sys.stdout.write(to_json(value))


def console() -> Any:
    from rich.console import Console

    wide = None if sys.stdout.isatty() else 120
    return Console(width=wide, highlight=False)


def scores(valid: Mapping[str, float], test: Mapping[str, float]) -> None:
    from rich.table import Table

    table = Table("metric", "assess", "test", box=None)
    for m in test:
        table.add_row(m, f"{valid[m]:.4f}", f"{test[m]:.4f}")
    console().print(table)


def verdicts(study: Any) -> None:
    """The effects of the primary metric, most useful first."""
    from rich.table import Table

    found = study.found
    rows = [r for r in found.rows if r.metric == found.primary]
    table = Table(box=None, header_style="bold")
    for name, justify in (
        ("technique", "left"),
        ("verdict", "left"),
        (f"effect on {found.primary}", "right"),
        ("95 % interval", "right"),
        (f"± seeds, {rows[0].unit}", "right"),
        ("trade", "left"),
    ):
        table.add_column(name, justify=justify)  # type: ignore[arg-type]
    trades = {t.technique: t for t in study.trades}
    sign = 1 if found.better == "lower" else -1
    colour = {"pays": "green", "costs": "red"}
    for r in sorted(rows, key=lambda r: sign * r.effect):
        t = trades.get(r.technique)
        trade = "" if t is None else f"{t.kind}{', profitable' if t.profitable else ''}"
        style = colour.get(r.verdict, "")
        verdict = f"[{style}]{r.verdict}[/]" if style else r.verdict
        table.add_row(
            r.technique,
            verdict,
            f"{r.effect:+.4f}",
            f"[{r.low:+.4f}, {r.high:+.4f}]".replace("[", "\\["),
            f"{r.se_seed:.4f}, {r.se_example:.4f}",
            trade,
        )
    out = console()
    out.print(table)
    out.print(
        f"{found.better} is better; smaller than {found.smallest:.3g} does not matter; "
        f"baseline {found.baseline:.4f}; pairing correlation {found.rho:.2f}"
    )
    lines(f"{r.technique} is undecided: {r.advice}" for r in rows if r.advice)
    lines(f"at fixed rates, by plain intervals, {r.technique} {r.note}" for r in study.by_rate if r.note)


def csv_text(records: Sequence[Mapping[str, Any]]) -> str:
    """Records as CSV, numbers unrounded."""
    import csv
    import io

    out = io.StringIO()
    writer = csv.DictWriter(out, list(records[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(records)
    return out.getvalue()


def lines(texts: Iterable[str], to_error: bool = False) -> None:
    for text in texts:
        print(text, file=sys.stderr if to_error else sys.stdout)
