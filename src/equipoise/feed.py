"""What a cohort's steps are fed: rows in order, noise keys, host draws, rates; and the fitted preparation."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor
from torch.utils._pytree import tree_map

from . import rng
from .errors import EquipoiseError
from .plan import Member
from .step import Now, Program, at_step
from .technique import Technique
from .workers import thread_alike

if TYPE_CHECKING:
    from .data import Data

BLOCK = 256  # steps whose inputs are made at once, at most
BYTES = 16 << 20  # of a block's inputs, at most
AHEAD = 2  # blocks made before their turn: the second may be long where the first, an epoch's last, is short
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


Key = tuple[int, int, tuple[float, ...]]  # of a block: epoch, number in it, factors


class Fed(NamedTuple):
    """Inputs of some steps of equal batches."""

    block: Now  # the fields of `step.MOVING` have an axis of steps first
    skip: int = 0  # its first steps, done already
    given: Any = None  # what was made of it ahead


class Feed:
    """The inputs of every step of a cohort, made in blocks; a pure function of the members and the epoch."""

    def __init__(self, program: Program, members: Sequence[Member], data: Data, schedule: Schedule) -> None:
        self.program, self.members, self.data, self.schedule = program, members, data, schedule
        self.rows = torch.stack([m.rows if m.rows is not None else data.rows["fit"] for m in members])
        self.batches = schedule.batches(self.rows.shape[1])
        self.total = schedule.epochs * len(self.batches)
        self._weights = None if data.weights is None else data.weights.to(program.device)
        self._steps = torch.tensor(float(self.total), dtype=torch.float64, device=program.device)
        self._row0 = torch.zeros((), dtype=torch.int32, device=program.device)
        self._spans = self._make_spans()
        # of the epoch that was asked for last; taken and replaced whole, because a thread asks too
        self._rates: tuple[int, dict[Any, Tensor]] = (-1, {})
        self._order: tuple[int, Tensor] = (-1, self.rows)
        self._thread: ThreadPoolExecutor | None = None
        self._coming = dict[Key, "Future[tuple[Now, Any]]"]()

    def order(self, epoch: int) -> Tensor:
        """Row numbers (R, n) in the order of this epoch; runs of one seed see one order."""
        if self.schedule.shuffle == "never":
            return self.rows
        turn = epoch if self.schedule.shuffle == "each" else 0
        n, seeds = self.rows.shape[1], list(dict.fromkeys(m.seed for m in self.members))
        drawn = rng.permutations(seeds, "order", n, turn)
        perms = {s: p.to(self.rows.device) for s, p in zip(seeds, drawn, strict=True)}
        return torch.stack([r.index_select(0, perms[m.seed]) for r, m in zip(self.rows, self.members, strict=True)])

    def blocks(
        self, epoch: int, factors: Sequence[float], first: int = 0, ready: Callable[[Now], Any] | None = None
    ) -> Iterator[Fed]:
        """The epoch's steps in blocks of equal batches. ``factors`` multiply each run's learning rate. From step
        ``first`` on: blocks are always whole. ``ready``: while a block is used, a thread makes those that follow
        it, into the next epoch, and what ``ready`` makes of them; for users that leave Python's lock alone."""
        for i, (a, b) in enumerate(self._spans):
            if b > first:
                block, given = self._taken((epoch, i, tuple(factors)))
                if ready is not None:
                    self._make_ahead(epoch * len(self._spans) + i + 1, tuple(factors), ready)
                yield Fed(block, max(first - a, 0), given)

    def _taken(self, key: Key) -> tuple[Now, Any]:
        coming = self._coming.pop(key, None)
        return coming.result() if coming is not None else (self._block(*key), None)

    def _make_ahead(self, first: int, factors: tuple[float, ...], ready: Callable[[Now], Any]) -> None:
        """Let the thread make the blocks from number ``first`` of the training on; what it made of others is left."""

        def make(key: Key) -> tuple[Now, Any]:
            block = self._block(*key)
            try:
                return block, ready(block)
            except RuntimeError:  # out of memory, say: shows where it is made in its turn
                return block, None

        numbers = (divmod(j, len(self._spans)) for j in range(first, first + AHEAD))
        wanted: list[Key] = [(epoch, i, factors) for epoch, i in numbers if epoch < self.schedule.epochs]
        for key in set(self._coming).difference(wanted):
            self._coming.pop(key).cancel()
        self._thread = self._thread or thread_alike()
        for key in wanted:
            self._coming[key] = self._coming.get(key) or self._thread.submit(make, key)

    def steps(self, epoch: int, factors: Sequence[float]) -> Iterator[Now]:
        """The epoch's steps one by one."""
        for fed in self.blocks(epoch, factors):
            yield from (at_step(fed.block, i) for i in range(len(fed.block.t)))

    def _rates_of(self, m: Member, factor: float, epoch: int) -> Tensor:
        """Learning rates of an epoch's steps, made once for all runs with the same schedule."""
        made, rates = self._rates
        if made != epoch:
            rates = {}
            self._rates = epoch, rates
        schedule = [t for t in m.techniques.values() if t.slot == "optimizer" or "rate" in t.acts_in()]
        key = (*map(repr, schedule), factor)
        if key not in rates:
            n = len(self.batches)
            steps = torch.arange(epoch * n, (epoch + 1) * n)
            rates[key] = self.program.rates(m.techniques, steps, self.total, factor)
        return rates[key]

    @property
    def last(self) -> Now | None:
        """The block of an epoch's last batch where that is smaller than the others."""
        if self.batches[0][1] == self.batches[-1][1]:
            return None
        return next(self.blocks(0, [1.0] * len(self.members), len(self.batches) - 1)).block

    def _block(self, epoch: int, i: int, factors: Sequence[float]) -> Now:
        (a, b), p, runs = self._spans[i], self.program, len(self.members)
        start, size = self.batches[a]
        made, order = self._order
        if made != epoch:
            order = self.order(epoch)
            self._order = epoch, order
        steps = torch.arange(a, b) + epoch * len(self.batches)
        # (steps, runs, size): one gather for the whole block
        rows = order[:, start : start + (b - a) * size].view(runs, b - a, size).transpose(0, 1).contiguous()
        each = zip(self.members, factors, strict=True)
        rates = torch.stack([self._rates_of(m, m.factor * f, epoch)[a:b] for m, f in each], 1)
        techniques, seeds = [m.techniques for m in self.members], [m.seed for m in self.members]
        weights = torch.ones(rows.shape, device=p.device) if self._weights is None else self._weights[rows]
        return Now(
            x=tree_map(lambda v: of_rows(v, rows), self.data.x), y=of_rows(self.data.y, rows), w=weights, rows=rows,
            keys=p.keys(seeds, steps), host=p.host(seeds, techniques, steps, size), rate=rates.to(p.device),
            t=steps.double().to(p.device), row0=self._row0, steps=self._steps,
            epoch=torch.tensor(float(epoch), dtype=torch.float64, device=p.device),
        )  # fmt: skip

    def _make_spans(self) -> list[tuple[int, int]]:
        """(first step, step after the last) of each block: equal batches, and inputs that fit in memory."""
        x = self.data.x if isinstance(self.data.x, tuple) else (self.data.x,)
        row = sum(v[:1].numel() * v.element_size() for v in x) * len(self.members)
        spans: list[tuple[int, int]] = []
        for size, same in itertools.groupby(range(len(self.batches)), lambda i: self.batches[i][1]):
            steps = list(same)
            most = max(1, min(BLOCK, BYTES // max(size * row, 1)))
            spans += [(steps[i], min(steps[i] + most, steps[-1] + 1)) for i in range(0, len(steps), most)]
        return spans


def of_rows(v: Tensor, rows: Tensor) -> Tensor:
    """v[rows], by whole rows, which takes a third of the time."""
    return v.index_select(0, rows.flatten()).view(*rows.shape, *v.shape[1:])


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
