"""Compiling the whole step (objective, gradient, optimizer) as one graph.

`make_fx` traces the pure step, so that no transform and no Python is left in it; Inductor turns the graph into kernels
(its cache is kept between processes). A graph belongs to one shape of batch; other shapes run eagerly.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

COLD = 15.0  # seconds a cold compile takes, about
OVERHEAD, PER_ELEMENT = 1.5e-3, 6e-8  # seconds an eager step loses: per step, and per element of stacked parameters


def repays(steps: int, elements: int) -> bool:
    """Will compiling repay within ``steps`` on parameters of ``elements`` numbers? A fixed rule, not a measurement:
    the plan, and so the bits, never depend on timing."""
    return steps * (OVERHEAD + PER_ELEMENT * elements) > COLD


def can_compile(device: torch.device) -> bool:
    """Is there a compiler for this device? Without one the eager path does the same, slower."""
    return device.type == "cuda" or any(shutil.which(c) for c in ("g++", "c++", "clang++"))


class Compiled:
    """A step as one compiled graph: ``compiled(state, const, now) → state, loss`` for one shape of arguments."""

    def __init__(self, step: Callable[..., Any], args: tuple[Any, ...], backend: str = "inductor") -> None:
        from torch.fx.experimental.proxy_tensor import make_fx

        leaves, spec = pytree.tree_flatten(args)
        out_spec: list[Any] = []

        def flat(*given: Tensor) -> list[Tensor]:
            out, s = pytree.tree_flatten(step(*pytree.tree_unflatten(list(given), spec)))
            out_spec.append(s)
            return out

        graph = make_fx(flat)(*leaves)
        graph.graph.eliminate_dead_code()
        graph.recompile()
        self.shapes = signature(args)
        self._out_spec = out_spec[0]
        self._run = _inductor(graph, leaves) if backend == "inductor" else torch.compile(graph, backend=backend)

    def __call__(self, *args: Any) -> Any:
        return pytree.tree_unflatten(list(self._run(*pytree.tree_leaves(args))), self._out_spec)


def _inductor(graph: torch.fx.GraphModule, leaves: list[Any]) -> Any:
    from torch._inductor import compile as compile_graph  # ahead of time: no guards, nothing to look up per call

    return compile_graph(graph, leaves)


def signature(args: Any) -> tuple[Any, ...]:
    """What a graph is good for: shapes and types of all its arguments."""
    return tuple((tuple(v.shape), v.dtype) for v in pytree.tree_leaves(args))


def traced(program: Any, args: tuple[Any, ...], backend: str) -> Compiled:
    """The single-run step of a program as a graph."""
    from .gradients import by_autograd

    return Compiled(lambda s, c, n: program.step(s, c, n, by_autograd), args, backend)
