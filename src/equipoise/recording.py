"""Running a function again as the plain operators it came down to.

What transforms and Python of ours cost on the way is paid once; tracing a graph for it would take twenty times as long.
For what is run tens of times.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.utils import _pytree as pytree
from torch.utils._python_dispatch import TorchDispatchMode

from .tracing import ALONE

READS = {torch.ops.aten._local_scalar_dense.default, torch.ops.aten.equal.default}  # numbers that Python then holds


class Recorded:
    """``f`` for arguments like these, which it must take apart and compute with by operators alone: leaves that are no
    tensors stay as they are here, tensors from elsewhere are read when it is called. RuntimeError where it reads a
    number."""

    def __init__(self, f: Callable[..., Any], *args: Any) -> None:
        leaves, self._structure = pytree.tree_flatten(args)
        with ALONE, torch.no_grad(), _Recorder(leaves) as recorder:
            out, self._out = pytree.tree_flatten(f(*args))
        self._results = [recorder.place(v) for v in out]
        self._calls = _needed(recorder.calls, {p.number for p in self._results if isinstance(p, _Place)})
        self._places = recorder.places

    def __call__(self, *args: Any) -> Any:
        leaves, structure = pytree.tree_flatten(args)
        if structure != self._structure:
            raise RuntimeError("recorded for arguments of another structure")
        held: list[Any] = [*leaves, *[None] * (self._places - len(leaves))]
        with torch.no_grad():
            for call in self._calls:
                given, named = [*call.args], call.kwargs
                for i, number in call.fill:
                    given[i] = held[number]
                if call.nested:
                    given, named = pytree.tree_map_only(_Place, lambda p: held[p.number], (given, named))
                made = call.operator(*given, **named)
                if call.several:
                    for number, v in zip(call.made, pytree.tree_leaves(made), strict=True):
                        held[number] = v
                elif call.made:
                    held[call.made[0]] = made
                for number in call.last:
                    held[number] = None
        return pytree.tree_unflatten([held[p.number] if isinstance(p, _Place) else p for p in self._results], self._out)


@dataclass(frozen=True)
class _Place:
    """Where a tensor lies while recorded operators run."""

    number: int


class _Call(NamedTuple):
    operator: Any
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    fill: tuple[tuple[int, int], ...]  # (argument, place) of the tensors among the arguments
    nested: bool  # others lie deeper
    made: tuple[int, ...]  # places of what comes out
    several: bool  # out come several, as a list
    last: tuple[int, ...] = ()  # places that nobody reads again

    @property
    def reads(self) -> set[int]:
        return {p.number for p in pytree.tree_leaves((self.args, self.kwargs)) if isinstance(p, _Place)}


class _Recorder(TorchDispatchMode):
    """Notes every operator with the places of its tensors; each tensor is held, so that none takes another's place."""

    def __init__(self, leaves: Sequence[Any]) -> None:
        super().__init__()
        self._tensors = list(leaves)
        self._number = {id(v): i for i, v in enumerate(leaves) if isinstance(v, Tensor)}
        self.calls: list[_Call] = []

    @property
    def places(self) -> int:
        return len(self._tensors)

    def place(self, v: Any) -> Any:
        """The place of a tensor that was given or made; anything else as it is."""
        return _Place(self._number[id(v)]) if isinstance(v, Tensor) and id(v) in self._number else v

    def _new(self, v: Any) -> int:
        self._tensors.append(v)
        self._number[id(v)] = len(self._tensors) - 1
        return self._number[id(v)]

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func in READS:
            raise RuntimeError(f"{func} cannot be recorded: Python reads a number")
        given, named = pytree.tree_map_only(Tensor, self.place, (tuple(args), kwargs or {}))
        fill = tuple((i, p.number) for i, p in enumerate(given) if isinstance(p, _Place))
        out = func(*args, **(kwargs or {}))
        several = not isinstance(out, Tensor)
        made = tuple(map(self._new, pytree.tree_leaves(out)))
        call = _Call(func, given, named, fill, False, made, several)
        self.calls.append(call._replace(nested=len(call.reads) > len({n for _, n in fill})))
        return out


def _needed(calls: Sequence[_Call], results: set[int]) -> list[_Call]:
    """Without those whose results nobody reads; with the places that are free after each."""
    wanted, kept = set(results), list[_Call]()
    for call in reversed(calls):
        if wanted.isdisjoint(call.made) and not call.operator._schema.is_mutable:
            continue
        seen = call.reads | set(call.made)
        kept.append(call._replace(last=tuple(sorted(seen - wanted))))
        wanted |= seen
    return kept[::-1]
