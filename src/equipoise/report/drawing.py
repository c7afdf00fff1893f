"""From matplotlib to inline SVG that belongs to the page: its text stays text, its colours are the page's variables."""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

INK, MUTED, RULE, PAYS, COSTS, BAND, PAPER = (f"#00010{i}" for i in range(7))
_VARIABLES = {
    INK: "ink", MUTED: "muted", RULE: "rule", PAYS: "pays", COSTS: "costs", BAND: "band", PAPER: "paper",
}  # fmt: skip
WIDTH, SIZE = 430, 12.0  # natural size: letters are 10 px high on a phone (358 px wide), 15 on a desk (528 px)
LETTER = 0.6 * SIZE  # a letter's usual width
_SETTINGS: Any = {
    "svg.fonttype": "none",
    "svg.hashsalt": "equipoise",
    "text.parse_math": False,  # a name is no formula
    "axes.formatter.use_mathtext": False,
    "axes.unicode_minus": True,
    "font.size": SIZE,
    "text.color": INK,
    "axes.edgecolor": RULE,
    "axes.labelcolor": INK,
    "axes.facecolor": "none",
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.labelcolor": MUTED,
    "ytick.labelcolor": MUTED,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.8,
    "lines.solid_capstyle": "butt",
}


def draw(name: str, label: str, height: float, paint: Callable[[Figure], None]) -> str:
    """SVG of what ``paint`` draws on an empty figure of WIDTH × height; ``label`` describes it to who cannot see it."""
    from matplotlib import rc_context
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    out = io.StringIO()
    with rc_context(_SETTINGS), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing")  # text stays text: the reader's own fonts have it
        figure = Figure(figsize=(WIDTH / 72, height / 72))
        FigureCanvasSVG(figure)
        paint(figure)
        figure.savefig(out, format="svg", transparent=True, metadata={"Date": None})
    return _inline(out.getvalue(), name, label)


def axes(figure: Figure, left: float, height: float, *, top: float = 26, bottom: float = 44) -> Axes:
    """Axes with margins in points."""
    return figure.add_axes(
        (left / WIDTH, bottom / height, (WIDTH - left - 14) / WIDTH, (height - top - bottom) / height)
    )


def short(text: str, letters: int = 22) -> str:
    """A label of one line; the tables have the whole name."""
    text = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    return text if len(text) <= letters else f"{text[: letters - 1]}…"


def _inline(svg: str, name: str, label: str) -> str:
    """The drawing without what a page has no use for: namespaces, metadata, styles of its own, names of groups."""
    root = ElementTree.fromstring(svg)
    referred = set(re.findall(r"#([\w-]+)", " ".join(v for e in root.iter() for v in e.attrib.values())))
    for parent in list(root.iter()):
        for child in list(parent):
            if child.tag.rpartition("}")[2] in ("metadata", "style"):  # a style would hold for the whole page
                parent.remove(child)
    for e in root.iter():
        e.tag = e.tag.rpartition("}")[2]
        e.attrib = dict(_attributes(e.attrib, name, referred))
        if not (e.tag == "text" or e.tag == "tspan"):
            e.text = None
        e.tail = None
    root.attrib = {"viewBox": root.attrib["viewBox"], "role": "img", "aria-label": label}
    return ElementTree.tostring(root, encoding="unicode")


def _attributes(given: dict[str, str], name: str, referred: set[str]) -> Iterator[tuple[str, str]]:
    for attribute, value in given.items():
        attribute = attribute.rpartition("}")[2]
        if attribute == "id":
            if value in referred:
                yield attribute, f"{name}-{value}"
        elif attribute == "style":
            value = re.sub(r"font: ([\d.]+px)[^;]*", r"font-size: \1", value)
            value = re.sub(r"#00010\d", lambda m: f"var(--{_VARIABLES[m[0]]})", value)
            yield attribute, value.replace("url(#", f"url(#{name}-")
        elif attribute == "clip-path":
            yield attribute, value.replace("url(#", f"url(#{name}-")
        elif attribute == "href":
            yield attribute, value.replace("#", f"#{name}-", 1)
        else:
            yield attribute, value
