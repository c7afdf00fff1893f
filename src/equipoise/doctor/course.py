"""The short training the doctor looks at."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from ..errors import EquipoiseError
from ..feed import Schedule
from ..training import checked_seed


@dataclass(frozen=True)
class Course:
    """Steps, seed, rows a batch, and the order of the rows: shuffled for "each" epoch, "once", "never"."""

    steps: int = 200
    seed: int = 0
    batch_size: int = 64
    shuffle: str = "each"

    def __post_init__(self) -> None:
        if isinstance(self.steps, bool) or not isinstance(self.steps, int) or self.steps < 1:
            raise EquipoiseError(f"steps={self.steps!r}: at least one step of training; 200 tell most.")
        checked_seed(self.seed)
        Schedule(1, self.batch_size, self.shuffle)

    def schedule(self, rows: int) -> Schedule:
        """Whole epochs of at least ``steps`` steps."""
        per_epoch = len(Schedule(1, self.batch_size).batches(rows))
        return Schedule(-(-self.steps // per_epoch), self.batch_size, self.shuffle)

    def changed(self, changes: Mapping[str, Any]) -> Course:
        """This course with what a finding says to change."""
        return replace(self, **changes)
