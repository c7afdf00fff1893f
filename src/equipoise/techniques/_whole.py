"""The check of options that count: epochs, steps, members."""

from __future__ import annotations

from ..errors import EquipoiseError
from ..technique import Technique


def whole(t: Technique, name: str, low: int) -> None:
    """Refuse an option that is no whole number from ``low`` on."""
    value = getattr(t, name)
    if isinstance(value, bool) or not isinstance(value, int) or value < low:
        raise EquipoiseError(f"{type(t).__name__}({name}={value!r}): {name} is a whole number from {low} on.")
