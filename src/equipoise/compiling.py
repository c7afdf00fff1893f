"""The whole step (objective, gradient, optimizer) as one graph, one call per step.

For devices on which steps are not looped natively. A graph belongs to one shape of batch.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from typing import Any, cast

import torch
from torch.utils import _pytree as pytree

from .step import Now, at_step
from .tracing import trace

COLD = 15.0  # seconds a cold compile takes, about
OVERHEAD, PER_ELEMENT = 1.5e-3, 6e-8  # seconds an eager step loses: per step, and per element of stacked parameters


def repays(steps: int, elements: int, seconds: float = COLD) -> bool:
    """Will compiling, which takes these ``seconds``, repay within ``steps`` on parameters of ``elements`` numbers? A
    fixed rule, not a measurement: the plan, and so the bits, never depend on timing."""
    return steps * (OVERHEAD + PER_ELEMENT * elements) > seconds


def can_compile(device: torch.device) -> bool:
    """Is there a compiler for this device? Without one the eager path does the same, slower."""
    return device.type == "cuda" or any(shutil.which(c) for c in ("g++", "c++", "clang++"))


class Compiled:
    """A step as one graph: ``compiled(state, const, now) → state, loss`` for one shape of arguments. ``backend``:
    "inductor", ahead of time, without guards; or one of `torch.compile`."""

    def __init__(self, step: Callable[..., Any], args: tuple[Any, ...], backend: str = "inductor") -> None:
        graph, self._out = trace(step, args)
        if backend == "inductor":
            from torch._inductor import compile as compile_graph

            self._run = cast(Callable[..., Any], compile_graph(graph, pytree.tree_leaves(args)))
        else:
            self._run = torch.compile(graph, backend=backend)

    def __call__(self, *args: Any) -> Any:
        with torch.no_grad():  # gradients are operators of the graph
            return pytree.tree_unflatten(list(self._run(*pytree.tree_leaves(args))), self._out)


class Steps:
    """One step, compiled or recorded, behind the interface of `loop.Loop`: the steps of a block one by one."""

    def __init__(self, step: Callable[..., Any]) -> None:
        self._step = step

    def ready(self) -> None:
        """It is, from the start."""

    def inputs(self, consts: Sequence[Any], blocks: Sequence[Now]) -> list[tuple[Any, Now]]:
        return list(zip(consts, blocks, strict=True))

    def __call__(self, state: Any, given: tuple[Any, Now], a: int, b: int) -> tuple[Any, torch.Tensor]:
        const, block, losses = *given, []
        for i in range(a, b):
            state, loss = self._step(state, const, at_step(block, i))
            losses.append(loss)
        return state, torch.stack(losses)


def traced(program: Any, args: tuple[Any, ...], backend: str) -> Compiled:
    """The single-run step of a program as a graph."""
    from .gradients import by_autograd

    return Compiled(lambda s, c, n: program.step(s, c, n, by_autograd), args, backend)
