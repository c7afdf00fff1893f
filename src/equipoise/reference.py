"""The fuller default recipe of the reference networks. A user's own network gets none of it (CONTRACT §1)."""

from __future__ import annotations

from typing import Any

from . import techniques as T
from .literals import call
from .recipe import Recipe

RATES = {"mlp": 1e-2, "cnn": 3e-3, "resnet": 3e-3}  # AdamW's learning rate beside BatchNorm and Cosine


def reference_recipe(model: Any) -> Recipe:
    """He, BatchNorm, Cosine and a rate that suits them for a reference network; an empty recipe for anything else.

    He holds the size of ReLU signals with depth, BatchNorm lets a ten times higher rate train, Cosine takes out the
    variance that rate would leave. Chosen on the `assess` rows of digits (benchmarks/RESULTS.md gives the table).
    """
    if not isinstance(model, str):
        return Recipe()
    try:
        name = call(model)[0]
    except ValueError:
        return Recipe()
    return Recipe(T.He(), T.BatchNorm(), T.Cosine(), T.AdamW(RATES[name])) if name in RATES else Recipe()
