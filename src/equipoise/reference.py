"""The fuller default recipe of the reference networks. A user's own network gets none of it (CONTRACT §1)."""

from __future__ import annotations

from typing import Any

from . import techniques as T
from .literals import call
from .networks import reference_names
from .recipe import Recipe


def reference_recipe(model: Any) -> Recipe:
    """He, BatchNorm and Cosine for a reference network; an empty recipe for anything else.

    He holds the size of ReLU signals with depth; BatchNorm and Cosine paid in our own study of digits
    (benchmarks/RESULTS.md gives effect and interval).
    """
    if not isinstance(model, str):
        return Recipe()
    try:
        name = call(model)[0]
    except ValueError:
        return Recipe()
    return Recipe(T.He(), T.BatchNorm(), T.Cosine()) if name in reference_names() else Recipe()
