"""Writes docs/techniques/: an index by family and one page per technique, from the docstrings and declared fields.

    python docs/catalogue.py

Everything on a page is read from the class, so a page never says what the code does not. The same code gives the same
bytes; tests/test_catalogue.py holds the committed pages to it.
"""

from __future__ import annotations

import inspect
import json
import math
import re
from dataclasses import MISSING
from pathlib import Path
from typing import Any

import yaml
from figures import figures

from equipoise import techniques
from equipoise.technique import Technique, section

FOLDER = Path(__file__).parent / "techniques"
FAMILIES = {  # in the order in which a problem is set up
    "preparation": "Preparation of the data",
    "initialization": "Initialization",
    "normalization": "Normalization",
    "noise": "Noise in the network",
    "penalties": "Penalties and constraints",
    "augmentation": "Augmentation",
    "objectives": "Objectives",
    "optimizers": "Optimizers",
    "schedules": "Schedules",
    "stopping": "Stopping",
    "averaging": "Averaging",
}
HEADING = re.compile(r"([A-Z]\w+):(?: |$)")
SECTIONS = ("Knobs", "Options", "Shapes", "Errors", "Trade", "Source")
NOTE = "<!-- made by docs/catalogue.py from the docstring: change that, then `make docs` -->\n"


def kinds() -> list[type[Technique]]:
    """Every technique, by family and name."""
    order = list(FAMILIES)
    every = (techniques.find(n) for n in techniques.names())
    return sorted(every, key=lambda k: (order.index(k.family()), k.__name__))


def pages() -> dict[str, str]:
    """File name in docs/techniques → text."""
    every, drawn = kinds(), figures()
    made = {"index.md": index(every), **{f"{name}.svg": svg for name, (svg, _) in drawn.items()}}
    return made | {f"{k.__name__}.md": page(k, drawn.get(k.__name__, ("", ""))[1]) for k in every}


def index(every: list[type[Technique]]) -> str:
    """All techniques, a table for each family."""
    out = [NOTE, "# The catalogue\n"]
    out.append(
        f"{len(every)} techniques. A knob may differ between runs that train together; an option decides the program. "
        "*Off*: the knobs at which training does not notice the technique. What each stage may do stands in "
        "`equipoise.technique`.\n"
    )
    for family, title in FAMILIES.items():
        out += [f"## {title}\n", "| technique | what it does | knobs | off | stages |", "|---|---|---|---|---|"]
        for k in every:
            if k.family() == family:
                knobs = ", ".join(f"`{f.name}={f.default:g}`" for f in k.fields("knobs"))
                cells = (f"[{k.__name__}]({k.__name__}.md)", summary(k), knobs, neutral(k), ", ".join(k.stages()))
                out.append(row(*cells))
        out.append("")
    return "\n".join(out)


def page(kind: type[Technique], caption: str = "") -> str:
    """One technique in full, with its figure where there is one."""
    name = kind.__name__
    out = [NOTE, f"# {name}\n", f"{summary(kind)}\n"]
    if body := equation(kind):
        out += ["```text", body, "```\n"]
    if caption:
        out += [f"![{caption}]({name}.svg)\n", f"{caption}\n"]
    if fields := kind.fields("knobs"):
        out += ["## Knobs\n", "| knob | default | range | off |", "|---|---|---|---|"]
        for f in fields:
            off = (kind.off or {}).get(f.name)
            out.append(row(f"`{f.name}`", number(f.default), interval(f.metadata), "" if off is None else number(off)))
        out += ["", f"{section(kind, 'Knobs')}\n"]
    if fields := kind.fields("options"):
        out += ["## Options\n", "| option | default | choices |", "|---|---|---|"]
        for f in fields:
            choices = ", ".join(f"`{c!r}`" for c in f.metadata["choices"] or ())
            out.append(
                row(f"`{f.name}`", "" if f.default is MISSING else f"`{f.default!r}`", choices or "any it names")
            )
        out += ["", f"{section(kind, 'Options')}\n"]
    for title in SECTIONS[2:]:
        if text := section(kind, title):
            out += [f"## {title}\n", f"{text}\n"]
    out += ["## In a recipe\n", *facts(kind), "", *example(kind)]
    return "\n".join(out)


def summary(kind: type[Technique]) -> str:
    """The first paragraph of the docstring, in one line."""
    return " ".join((inspect.getdoc(kind) or "").split("\n\n")[0].split())


def equation(kind: type[Technique]) -> str:
    """What stands between the summary and the sections: the equation and its letters, as written."""
    kept: list[str] = []
    inside = True
    for line in (inspect.getdoc(kind) or "").split("\n\n", 1)[-1].splitlines():
        heading = HEADING.match(line)
        if heading:
            inside = heading[1] not in SECTIONS
        if inside:
            kept.append(line)
    return "\n".join(kept).strip()


def facts(kind: type[Technique]) -> list[str]:
    """What the class declares, as a list; what it does not declare is not named."""
    entry, place = kind(), ", ".join(f"`{p}`" for p in kind.place)  # some classes decide by an option: the default's
    declared = {
        "family": FAMILIES[kind.family()],
        "slot": f"`{kind.slot}`, which holds one entry" if kind.slot else "",
        "one entry per": place,
        "stages": ", ".join(f"`{s}`" for s in kind.stages()),
        "off": neutral(kind) or "leave it out",
        "tasks": ", ".join(entry.tasks),
        "data": ", ".join(entry.kinds),
        "needs the data to declare": f"`{entry.breaks}` preserves labels" if entry.breaks else "",
        "needs": ", ".join(linked(n) for n in entry.needs),
        "excludes": excluded(entry),
        "its source changes together with it": ", ".join(map(linked, entry.companions)),
    }
    return [f"- {what}: {value}" for what, value in declared.items() if value]


def excluded(entry: Technique) -> str:
    """What the entry excludes, by reason."""
    reasons = list(dict.fromkeys(entry.conflicts.values()))
    names = {why: ", ".join(linked(n) for n, w in entry.conflicts.items() if w == why) for why in reasons}
    return "; ".join(f"{names[why]} ({why.rstrip('.')})" for why in reasons)


def example(kind: type[Technique]) -> list[str]:
    """The same entry in Python, in a recipe file and on the command line."""
    first = (kind.fields("knobs") or kind.fields())[:1]
    shown: dict[str, Any] = {f.name: f.default for f in first}
    shown = {k: v for k, v in shown.items() if isinstance(v, str) or math.isfinite(v)}
    values = ", ".join(f"{k}={json.dumps(v)}" for k, v in shown.items())  # texts in double quotes, as code is formatted
    call = f"{kind.__name__}({values})"
    entry = yaml.safe_dump([{kind.__name__: shown} if shown else kind.__name__], default_flow_style=None).strip()
    return [
        "```python", f"eq.Recipe(T.{call})", "```\n",
        "```yaml", entry, "```\n",
        "```sh", f"equipoise train DATA --with '{call}'", "```\n",
    ]  # fmt: skip


def neutral(kind: type[Technique]) -> str:
    return ", ".join(f"`{k}={v:g}`" for k, v in (kind.off or {}).items())


def number(value: Any) -> str:
    return {math.inf: "∞", -math.inf: "−∞"}.get(value, f"{value:g}")


def interval(metadata: Any) -> str:
    """[low, high] with the ends that are excluded, and infinite ones, open."""
    low, high, open_ = metadata["low"], metadata["high"], metadata["open"]
    left = "(" if open_ in ("low", "both") or math.isinf(low) else "["
    right = ")" if open_ in ("high", "both") or math.isinf(high) else "]"
    return f"{left}{number(low)}, {number(high)}{right}"


def linked(name: str) -> str:
    """A technique's name as a link to its page; words as they are."""
    return f"[{name}]({name}.md)" if name in techniques.names() else name


def row(*cells: str) -> str:
    return "| " + " | ".join(c.replace("|", "\\|") for c in cells) + " |"


def main() -> None:
    made = pages()
    FOLDER.mkdir(exist_ok=True)
    for old in (*FOLDER.glob("*.md"), *FOLDER.glob("*.svg")):
        if old.name not in made:
            old.unlink()
    for name, text in made.items():
        (FOLDER / name).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
