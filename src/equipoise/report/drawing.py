"""From matplotlib to inline SVG that belongs to the page: its text stays text, its colours are the page's variables."""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Callable
from html import escape
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

INK, MUTED, RULE, PAYS, COSTS, BAND, PAPER = (f"#00010{i}" for i in range(7))
_VARIABLES = {
    INK: "ink", MUTED: "muted", RULE: "rule", PAYS: "pays", COSTS: "costs", BAND: "band", PAPER: "paper",
}  # fmt: skip
WIDTH, SIZE = 470, 12.0  # natural size: read at ¾ on a phone and at 1¼ on a desk, letters stay between 9 and 15 px
LETTER = 0.56 * SIZE  # a letter's usual width
_SETTINGS = {
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
    "ytick.labelcolor": INK,
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


def short(text: str, letters: int = 24) -> str:
    """A label of one line; the tables have the whole name."""
    text = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    return text if len(text) <= letters else f"{text[: letters - 1]}…"


def _inline(svg: str, name: str, label: str) -> str:
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    svg = re.sub(r"<style[^>]*>.*?</style>", "", svg, flags=re.DOTALL)  # it would hold for the whole page
    svg = re.sub(r"<!--.*?-->", "", svg, flags=re.DOTALL)
    box = re.search(r'viewBox="([^"]+)"', svg)
    assert box is not None
    start = f'<svg viewBox="{box[1]}" role="img" aria-label="{escape(label, quote=True)}">'
    svg = re.sub(r"<svg[^>]*>", lambda _: start, svg, count=1)
    svg = svg.replace("xlink:href", "href")
    svg = re.sub(r' id="(?![mp][0-9a-f]{10}")[^"]*"', "", svg)  # names of groups, which nothing refers to
    svg = re.sub(r'( id="|href="#|url\(#)', rf"\g<1>{name}-", svg)
    svg = re.sub(r"font: ([\d.]+px)[^;\"]*", r"font-size: \1", svg)
    svg = re.sub(r"#00010(\d)", lambda m: f"var(--{_VARIABLES[m[0]]})", svg)
    return re.sub(r">\s+<", "><", svg).strip()
