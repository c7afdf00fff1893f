"""How numbers are written: as many decimals as their error earns, a real minus sign, and words where there is none."""

from __future__ import annotations

import math
from collections.abc import Iterable

NONE = "—"
_UNITS = {
    "loss": "nats per example",
    "accuracy": "share of examples",
    "brier": "squared probability",
    "auc": "area under the curve",
    "rmse": "in the target's unit",
    "mae": "in the target's unit",
    "r2": "share of variance",
}


def unit(metric: str) -> str:
    """The unit of a metric in words; empty for a metric of the user's own."""
    return _UNITS.get(metric, "")


def decimals(errors: Iterable[float]) -> int:
    """Decimals that show two figures of the typical (median) error, 0 to 8; 4 where no error is known."""
    known = sorted(abs(e) for e in errors if math.isfinite(e) and abs(e) > 1e-12)
    if not known:
        return 4
    return min(max(1 - math.floor(math.log10(known[len(known) // 2])), 0), 8)


def plain(x: float | None, d: int) -> str:
    """−0.021; a dash where there is no number."""
    if x is None or not math.isfinite(x):
        return NONE
    text = f"{x:.{d}f}"
    text = text.lstrip("-") if float(text) == 0.0 else text
    return text.replace("-", "−")


def signed(x: float | None, d: int) -> str:
    """+0.021, −0.021; what rounds to zero keeps its sign, which says on which side an interval ends."""
    if x is None or not math.isfinite(x):
        return NONE
    return plain(x, d) if abs(x) < 1e-12 else f"{x:+.{d}f}".replace("-", "−")


def between(low: float | None, high: float | None, d: int) -> str:
    """[−0.021, +0.003]; ``no interval`` where an end is missing."""
    if low is None or high is None or not (math.isfinite(low) and math.isfinite(high)):
        return "no interval"
    return f"[{signed(low, d)}, {signed(high, d)}]"


def p_value(p: float | None) -> str:
    if p is None or not math.isfinite(p):
        return NONE
    return "< .0001" if p < 0.0001 else f"{p:.4f}".removeprefix("0")


def duration(seconds: float) -> str:
    if not math.isfinite(seconds):
        return NONE
    if seconds < 100:
        return f"{seconds:.3g} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 100 else f"{minutes // 60} h {minutes % 60:02d} min"


def listed(items: Iterable[str]) -> str:
    """a, b and c."""
    items = list(items)
    return " and ".join(filter(None, (", ".join(items[:-1]), items[-1]))) if items else ""
