"""What a loader hands over, before labels are mapped and roles are drawn."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass
class Raw:
    """Inputs and targets as they were found. ``official``: rows of the set's own test part; ``fresh``: owned by us."""

    x: Any
    y: Any
    name: str = "arrays"
    source: str = "arrays"
    official: np.ndarray[Any, np.dtype[Any]] | None = None
    preserves: tuple[str, ...] = ()
    kind: Any = None  # a kind, or one for each of several inputs
    groups: Any = None
    weights: Any = None
    fresh: bool = True
