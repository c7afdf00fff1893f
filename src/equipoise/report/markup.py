"""Pieces of a page: escaped text, tables that scroll by themselves and download as CSV, figures, sections."""

from __future__ import annotations

import base64
import csv
import io
from collections.abc import Callable, Mapping, Sequence
from html import escape
from typing import Any, NamedTuple

Record = Mapping[str, Any]


class Column(NamedTuple):
    """A column of a table: its title, and the text it shows of a record (escaped by the table)."""

    title: str
    show: Callable[[Record], str]
    number: bool = True


def key(title: str, name: str) -> Column:
    """A column of words: the record's own text."""
    return Column(title, lambda r: str(r[name]), number=False)


def table(caption: str, columns: Sequence[Column], records: Sequence[Record]) -> str:
    """A table whose first column heads its rows, in a container that scrolls alone where the screen is narrow."""
    head = "".join(f'<th scope="col"{_class(c)}>{escape(c.title)}</th>' for c in columns)
    body = "".join(f"<tr>{''.join(_cell(c, r, i == 0) for i, c in enumerate(columns))}</tr>" for r in records)
    name = escape(caption, quote=True)
    return (
        f'<div class="scroll" role="region" aria-label="{name}" '
        f'tabindex="0"><table><caption>{escape(caption)}</caption>'
        f"<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>"
    )


def csv_link(name: str, records: Sequence[Record]) -> str:
    """A link that saves every field of the records, unrounded, as ``name.csv``; the file lies in the link itself."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    fields = list(dict.fromkeys(k for r in records for k in r))
    writer.writerow(fields)
    writer.writerows([r.get(f, "") for f in fields] for r in records)
    data = base64.b64encode(out.getvalue().encode()).decode()
    return f'<a class="csv" download="{name}.csv" href="data:text/csv;charset=utf-8;base64,{data}">{name}.csv</a>'


def numbers(
    name: str, caption: str, columns: Sequence[Column], records: Sequence[Record], data: Sequence[Record] | None = None
) -> str:
    """A table folded away under its caption, with its CSV (``data``: other records for the CSV than are shown)."""
    return (
        f'<details class="numbers"><summary>Table: {escape(caption)}</summary>'
        f"{table(caption, columns, records)}<p>{csv_link(name, data or records)}</p></details>"
    )


def figure(drawing: str, caption: str, table: str) -> str:
    """A drawing (inline SVG), its caption (HTML) and its numbers."""
    return f'<figure><div class="drawing">{drawing}</div><figcaption>{caption}</figcaption>{table}</figure>'


def section(name: str, title: str, *body: str) -> str:
    """A section under a heading of its own; ``name`` is its anchor."""
    head = f'<h2 id="{name}-title">{escape(title)}</h2>'
    return f'<section id="{name}" aria-labelledby="{name}-title">{head}{"".join(body)}</section>'


def paragraphs(*texts: str) -> str:
    """Plain texts as paragraphs, escaped; empty ones are left out."""
    return "".join(f"<p>{escape(t)}</p>" for t in texts if t)


def bullets(texts: Sequence[str]) -> str:
    """Plain texts as a list, escaped."""
    return f"<ul>{''.join(f'<li>{escape(t)}</li>' for t in texts)}</ul>" if texts else ""


def terms(pairs: Sequence[tuple[str, str]]) -> str:
    """Names with their values, escaped."""
    return f"<dl>{''.join(f'<div><dt>{escape(k)}</dt><dd>{escape(v)}</dd></div>' for k, v in pairs)}</dl>"


def code(title: str, text: str) -> str:
    """A text to copy, word for word."""
    return (
        f'<div class="code"><p>{escape(title)}</p><pre tabindex="0" aria-label="{escape(title, quote=True)}">'
        f"<code>{escape(text)}</code></pre></div>"
    )


def _class(column: Column) -> str:
    return ' class="n"' if column.number else ""


def _cell(column: Column, record: Record, head: bool) -> str:
    text = escape(column.show(record))
    return f'<th scope="row">{text}</th>' if head else f"<td{_class(column)}>{text}</td>"
