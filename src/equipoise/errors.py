"""The one kind of error a user can cause: it says what came, the rule, and the way out, in one line."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class EquipoiseError(ValueError):
    """Bad input. The message is one line: what came, the rule, the way out."""


def nearest(name: str, known: Iterable[str]) -> str:
    """`` Did you mean 'Dropout'?`` for the closest known name, or an empty string."""
    known = list(known)
    by_lower = {k.lower(): k for k in known}
    hits = difflib.get_close_matches(name.lower(), by_lower, n=1, cutoff=0.5)
    return f" Did you mean {by_lower[hits[0]]!r}?" if hits else ""
