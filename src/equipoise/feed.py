"""What a cohort's steps are fed: rows in order, noise keys, host draws, rates; and the fitted preparation."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from . import rng
from .errors import EquipoiseError
from .plan import Member
from .step import Now, Program
from .technique import Technique

if TYPE_CHECKING:
    from .data import Data

BLOCK = 64  # steps whose noise keys, host draws and rates are made at once
SHUFFLES = ("each", "once", "never")


@dataclass(frozen=True)
class Schedule:
    """Length and order of training: epochs, rows per batch, and whether rows are shuffled each epoch, once or never."""

    epochs: int
    batch_size: int = 64
    shuffle: str = "each"

    def __post_init__(self) -> None:
        for name, what in (("epochs", "at least one whole epoch"), ("batch_size", "at least one row a step")):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise EquipoiseError(f"{name}={value!r}: {what}.")
        if self.shuffle not in SHUFFLES:
            raise EquipoiseError(f"shuffle={self.shuffle!r}: one of {', '.join(SHUFFLES)}.")

    def batches(self, n: int) -> list[tuple[int, int]]:
        """(first row, row count) of each batch of an epoch of ``n`` rows; a last batch of one joins its neighbour."""
        starts = list(range(0, n, self.batch_size))
        if len(starts) > 1 and n - starts[-1] == 1 and self.batch_size > 1:
            starts.pop()
        return [(a, b - a) for a, b in zip(starts, [*starts[1:], n], strict=True)]


class Feed:
    """The inputs of every step of a cohort, made in blocks; a pure function of the members and the epoch."""

    def __init__(self, program: Program, members: Sequence[Member], data: Data, schedule: Schedule) -> None:
        self.program, self.members, self.data, self.schedule = program, members, data, schedule
        self.rows = torch.stack([m.rows if m.rows is not None else data.rows["fit"] for m in members])
        self.batches = schedule.batches(self.rows.shape[1])
        self.total = schedule.epochs * len(self.batches)
        ones = torch.ones(len(data.y), device=program.device)
        self._weights = ones if data.weights is None else data.weights.to(program.device)
        self._steps = torch.tensor(float(self.total), dtype=torch.float64, device=program.device)
        self._row0 = torch.zeros((), dtype=torch.int32, device=program.device)

    def order(self, epoch: int) -> Tensor:
        """Row numbers (R, n) in the order of this epoch; runs of one seed see one order."""
        if self.schedule.shuffle == "never":
            return self.rows
        turn = epoch if self.schedule.shuffle == "each" else 0
        n, seeds = self.rows.shape[1], {m.seed for m in self.members}
        perms = {s: rng.permutation(s, "order", n, turn).to(self.rows.device) for s in seeds}
        return torch.stack([r[perms[m.seed]] for r, m in zip(self.rows, self.members, strict=True)])

    def steps(self, epoch: int, factors: Sequence[float]) -> Iterator[Now]:
        """The steps of an epoch; ``factors`` multiply each run's learning rate."""
        order, p = self.order(epoch), self.program
        seeds, techniques = [m.seed for m in self.members], [m.techniques for m in self.members]
        now = torch.tensor(float(epoch), dtype=torch.float64, device=p.device)
        for a in range(0, len(self.batches), BLOCK):
            some = self.batches[a : a + BLOCK]
            steps = torch.arange(a, a + len(some)) + epoch * len(self.batches)
            keys = p.keys(seeds, steps)
            host = p.host(seeds, techniques, steps, max(n for _, n in some))
            each = zip(self.members, factors, strict=True)
            rates = torch.stack([p.rates(m.techniques, steps, self.total, m.factor * f) for m, f in each], 1).to(
                p.device
            )
            clock = steps.double().to(p.device)
            for i, (b, n) in enumerate(some):
                rows = order[:, b : b + n]
                drawn = {k: v[i] if v.dim() == 2 else v[i, :, :n] for k, v in host.items()}
                x, y, w = select(self.data.x, rows), self.data.y[rows], self._weights[rows]
                yield Now(x, y, w, keys[i], drawn, rates[i], rows, clock[i], now, self._steps, self._row0)


def select(x: Any, rows: Any) -> Any:
    """Rows of one input, or of each of several."""
    return tuple(v[rows] for v in x) if isinstance(x, tuple) else x[rows]


def fit_preparation(
    techniques: Mapping[str, Technique], data: Data, rows: Tensor, dtype: torch.dtype
) -> dict[str, dict[str, Tensor]]:
    """What techniques learn from ``rows``. A preparation sees what those before it made of x; the others raw rows."""
    x, y = select(data.x, rows), data.y[rows]
    learned: dict[str, dict[str, Tensor]] = {}
    chain = sorted((t for t in techniques.values() if "prepare" in t.acts_in()), key=lambda t: t.turn)
    for t in techniques.values():
        if t.fits() and t not in chain:
            learned[t.key] = _cast(t.fit(x, y, data), dtype)
    for i, t in enumerate(chain):
        learned[t.key] = _cast(t.fit(x, y, data), dtype)
        if i + 1 < len(chain):
            x = t.prepare(x, learned[t.key])
    return learned


def prepared_example(
    techniques: Mapping[str, Technique], learned: Mapping[str, Mapping[str, Tensor]], x: Any, dtype: torch.dtype
) -> Any:
    """Raw rows as the network will see them."""
    as_float = lambda v: v.to(dtype) if v.is_floating_point() or v.dtype == torch.uint8 else v  # noqa: E731
    x = tuple(map(as_float, x)) if isinstance(x, tuple) else as_float(x)
    for t in sorted((t for t in techniques.values() if "prepare" in t.acts_in()), key=lambda t: t.turn):
        x = t.prepare(x, learned[t.key])
    return x


def _cast(learned: dict[str, Tensor], dtype: torch.dtype) -> dict[str, Tensor]:
    return {k: v.to(dtype) if v.is_floating_point() else v for k, v in learned.items()}
