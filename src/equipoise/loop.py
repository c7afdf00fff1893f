"""Many steps as one compiled loop: a scan over the traced step, built ahead of time and kept on disk.

No Python runs between two steps of a block. A loop belongs to one shape of batch and any number of steps.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from .building import Build
from .native import Native
from .recording import Recorded
from .step import MOVING, Const, Now, State, at_step
from .tracing import Split, over_steps, pack, split_small, trace, types_of, unpack

FIXED = tuple(f for f in Now._fields if f not in MOVING)
SMALL = ("rate", "t", "host", "keys")  # moving inputs whose consequences are computed beforehand where they are small
PER_ROW = 8  # numbers for a row of the batch that count as small


class Loop:
    """Blocks of steps of one batch size: ``loop(state, given, a, b) → state, losses`` trains steps a … b−1 of the block
    that ``[given] = loop.inputs([const], [block])`` is made of."""

    def __init__(
        self,
        step: Callable[..., Any],
        state: State,
        const: Const,
        block: Now,
        threads: int = 1,
        short: bool = True,
        beside: bool = False,
    ) -> None:
        """``step(state, const, now)``; ``block``: an example; ``threads``: used inside of the loop; ``short``: a step
        takes microseconds, so that the calls between its kernels count; ``beside``: made by another process, if it
        must be made. To be `ready` before it is called."""
        state_leaves, self._state = pytree.tree_flatten(state)
        leaves = [state_leaves, pytree.tree_leaves(const), _fixed(block), pytree.tree_leaves(_moving(block))]
        self._n = [len(part) for part in leaves]
        now = at_step(block, 0)
        args = (state, const, _fixed(now), _moving(now))
        graph, _ = trace(lambda s, c, f, m: step(s, c, Now(**dict(zip(FIXED, f, strict=True)), **m)), args)
        largest = PER_ROW * now.rows.numel()
        small, others = self._sources(const, args[-1], largest)
        self._split = split_small(graph, small, largest, self._n[0], others)
        self._small: dict[Any, Recorded] = {}  # by numbers of parts and steps
        fixed, moving = [*leaves[1], *leaves[2]], [_at_least_two(v) for v in leaves[3]]
        given = [v[0] for v in self._run_small([[*leaves[0], *fixed, *moving]])]
        fixed, moving = self._needed(fixed, 0), [*self._needed(moving, len(fixed)), *given]
        self._leaves = [torch.empty_like(v, device="meta") for v in state_leaves]  # for their shapes
        self._short, flat = short, _joined(state_leaves, short)
        body = _Body(self._split, self._leaves, len(moving), short)
        steps = [False] * (len(flat) + len(fixed)) + [True] * len(moving)
        self._build: Build | None = Build(body, [*flat, *fixed, *moving], steps, threads, short, beside)

    def ready(self) -> None:
        """Make the library, or wait for it."""
        if self._build is not None:
            self._native: Native = self._build.result()
            self._build = None

    def _needed(self, leaves: list[Tensor], first: int) -> list[Tensor]:
        """Those of the leaves numbered ``first`` … behind the state that the body reads."""
        start = self._n[0] + first
        return [leaves[i - start] for i in self._split.needed if start <= i < start + len(leaves)]

    def _sources(self, const: Const, moving: dict[str, Any], largest: int) -> tuple[list[int], list[int]]:
        """Numbers of the leaves that are scalars of a run: knobs, the clock, rates, small host draws; and of the others
        that are no state."""
        knobs = range(self._n[0], self._n[0] + len(pytree.tree_leaves(const.knobs)))
        clock = range(self._n[0] + self._n[1], sum(self._n[:3]))
        leaves = [(f, v) for f in MOVING for v in pytree.tree_leaves(moving[f])]
        found = enumerate(leaves, sum(self._n[:3]))
        small = {*knobs, *clock, *(i for i, (f, v) in found if f in SMALL and v.numel() <= largest)}
        return sorted(small), [i for i in range(self._n[0], sum(self._n)) if i not in small]

    def _run_small(self, leaves: Sequence[Sequence[Tensor]]) -> list[Tensor]:
        """The small values of a block, packed by type: (parts, steps, numbers). ``leaves``: for each part."""
        if not self._split.values:
            return []
        moving, first = [i >= sum(self._n[:3]) for i in self._split.sources], leaves[0]
        shared = [all(part[i] is first[i] for part in leaves) for i in self._split.sources]
        args = [
            first[i] if same else torch.stack([part[i] for part in leaves])
            for i, same in zip(self._split.sources, shared, strict=True)
        ]
        key = (len(leaves), tuple(args[moving.index(True)].shape), tuple(shared))
        if key not in self._small:
            self._small[key] = Recorded(over_steps(self._split.small, moving, shared), *args)
        return self._small[key](*args)

    def inputs(self, consts: Sequence[Const], blocks: Sequence[Now]) -> list[tuple[list[Tensor], list[Tensor]]]:
        """What a block gives the loop beside the state, for each of some parts of the runs: tensors that stay, and
        tensors with an axis of steps. Computed for whole blocks, so that the bits do not depend on how many steps run
        in a call."""
        blank: Any = [None] * self._n[0]
        fixed = [[*pytree.tree_leaves(c), *_fixed(b)] for c, b in zip(consts, blocks, strict=True)]
        moving = [pytree.tree_leaves(_moving(b)) for b in blocks]
        small = self._run_small([[*blank, *f, *m] for f, m in zip(fixed, moving, strict=True)])
        return [
            (self._needed(f, 0), [*self._needed(m, len(f)), *(v[part] for v in small)])
            for part, (f, m) in enumerate(zip(fixed, moving, strict=True))
        ]

    def __call__(self, state: State, given: tuple[list[Tensor], list[Tensor]], a: int, b: int) -> tuple[State, Tensor]:
        """The new state and the losses (b − a, …)."""
        fixed, moving = given
        given_state = _joined(pytree.tree_leaves(state), self._short)
        *new, losses = self._native([*given_state, *fixed, *(v[a:b] for v in moving)])
        return pytree.tree_unflatten(_parted(new, self._leaves, self._short), self._state), losses


class _Body(nn.Module):
    """The scan that is exported. Its arguments: the state, packed where steps are ``short``; fixed ones; ``moving``
    ones, the last of which are packs."""

    def __init__(self, split: Split, leaves: Sequence[Tensor], moving: int, short: bool) -> None:
        super().__init__()
        self.step, self.leaves, self.moving, self.examples = split.body, leaves, moving, split.values
        self.short, self.packs = short, len(types_of(split.values))
        self.state = len(types_of(leaves)) if short else len(leaves)

    def forward(self, *given: Tensor) -> tuple[Tensor, ...]:
        from torch._higher_order_ops.scan import scan_op  # `scan` itself would trace the step once more, by Dynamo

        first = len(given) - self.moving

        def body(*given: Tensor) -> list[Tensor]:
            state, now = given[: self.state], given[self.state : self.state + self.moving]
            plain, packed = now[: self.moving - self.packs], now[self.moving - self.packs :]
            fixed = given[self.state + self.moving :]
            leaves = _parted(state, self.leaves, self.short)
            *new, loss = self.step(*leaves, *fixed, *plain, *unpack(packed, self.examples))
            return [v.clone() for v in (*_joined(new, self.short), loss)]

        return tuple(scan_op(body, list(given[: self.state]), list(given[first:]), tuple(given[self.state : first])))


def _joined(leaves: Sequence[Tensor], short: bool) -> list[Tensor]:
    """The leaves of a state as a loop takes them: packed by type, so that a step makes few tensors, where it is short;
    where it is not, this gains nothing and takes 5 s to compile."""
    return pack(leaves) if short else list(leaves)


def _parted(joined: Sequence[Tensor], leaves: Sequence[Tensor], short: bool) -> list[Tensor]:
    """The leaves again, in the shapes of ``leaves``."""
    return unpack(joined, leaves) if short else list(joined)


def _fixed(now: Now) -> tuple[Any, ...]:
    return tuple(getattr(now, f) for f in FIXED)


def _moving(now: Now) -> dict[str, Any]:
    return {f: getattr(now, f) for f in MOVING}


def _at_least_two(v: Tensor) -> Tensor:
    """An export of one step would fix their number to one."""
    return torch.cat([v, v]) if len(v) == 1 else v
