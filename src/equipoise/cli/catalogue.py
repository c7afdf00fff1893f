"""`equipoise techniques`."""

from __future__ import annotations

import dataclasses
import inspect
import math
from typing import Any

from . import show


def techniques_command(name: str | None, json_: bool) -> None:
    from .. import techniques as T

    kinds = [T.find(name)] if name else [T.find(n) for n in T.names()]
    if json_:
        show.emit_json([describe(k) for k in kinds])
    elif name:
        print(f"{name}{inspect.signature(kinds[0])}\n\n{inspect.getdoc(kinds[0])}")
    else:
        _table(kinds)


def describe(kind: Any) -> dict[str, Any]:
    """The entry of `techniques --json`."""
    from ..technique import section

    off = kind.off or {}
    finite = lambda v: float(v) if math.isfinite(v) else None  # noqa: E731
    knobs = [
        {
            "name": f.name,
            "default": f.default,
            "off": off.get(f.name),
            "low": finite(f.metadata["low"]),
            "high": finite(f.metadata["high"]),
        }
        for f in kind.fields("knobs")
    ]
    options = [
        {
            "name": f.name,
            "default": None if f.default is dataclasses.MISSING else f.default,
            "choices": f.metadata["choices"],
        }
        for f in kind.fields("options")
    ]
    sources = [s.strip().rstrip(".") for s in section(kind, "Source").split(";") if s.strip()]
    return {
        "name": kind.__name__,
        "family": kind.family(),
        "slot": kind.slot,
        "stages": list(kind.stages()),
        "knobs": knobs,
        "options": options,
        "trade": section(kind, "Trade"),
        "sources": sources,
    }


def _table(kinds: list[Any]) -> None:
    from rich.table import Table

    table = Table("technique", "family", "what it does", box=None, header_style="bold")
    for k in sorted(kinds, key=lambda k: (k.family(), k.__name__)):
        knobs = ", ".join(f"{f.name}={f.default:g}" for f in k.fields("knobs"))
        table.add_row(f"{k.__name__}({knobs})", k.family(), (inspect.getdoc(k) or "").splitlines()[0])
    show.console().print(table)
