"""Tracing the pure step into one graph, and splitting off what is small.

What follows from knobs, rate, clock and noise keys alone (bias corrections, the angle an image is turned by) would
otherwise be computed again for every few elements of what it is applied to, because a compiler fuses it into the loops
over them.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.fx import Graph, GraphModule, Node, map_arg
from torch.utils import _pytree as pytree

ALONE = threading.RLock()  # tracing patches modules for all threads: meanwhile, none runs a graph or traces another
LANES = 16  # numbers of 32 bits that a vector instruction takes
APART = {torch.ops.aten.grid_sampler_2d.default}  # compiled, they are slower by far than PyTorch's own kernels


def trace(step: Callable[..., Any], args: tuple[Any, ...]) -> tuple[GraphModule, Any]:
    """``step`` as a flat graph (leaves of ``args`` → leaves of its result), and the structure of the result. No
    transform and no Python of ours is left in it."""
    from torch._guards import TracingContext, tracing
    from torch._subclasses import FakeTensorMode
    from torch.fx.experimental.proxy_tensor import make_fx

    leaves, spec = pytree.tree_flatten(args)
    seen: list[Any] = []

    def flat(*given: Tensor) -> list[Tensor]:
        out, s = pytree.tree_flatten(step(*pytree.tree_unflatten(list(given), spec)))
        seen.append(s)
        return out

    with ALONE, tracing(TracingContext(FakeTensorMode())):  # one for all nodes, which would else be made for every one
        graph = make_fx(flat, decomposition_table={torch.ops.aten.addmm.default: _unfused})(*leaves)
    graph.graph.eliminate_dead_code()
    graph.recompile()
    return graph, seen[0]


def _unfused(bias: Tensor, a: Tensor, b: Tensor, *, beta: float = 1, alpha: float = 1) -> Tensor:
    """addmm as a product and a sum, which a compiler fuses into what follows; its own begins by copying the bias."""
    return a @ b * alpha + bias * beta if (beta, alpha) != (1, 1) else a @ b + bias


class Split(NamedTuple):
    """A graph in two: ``small`` (of the placeholders numbered ``sources``) → values that ``body`` takes behind those
    placeholders of the whole that it still needs, numbered ``needed``."""

    small: GraphModule
    body: GraphModule
    sources: tuple[int, ...]
    needed: tuple[int, ...]
    values: tuple[Tensor, ...]  # examples without numbers


def split_small(
    graph: GraphModule, sources: Sequence[int], largest: int, always: int = 0, others: Sequence[int] = ()
) -> Split:
    """Take out what depends on the placeholders ``sources`` alone and has at most ``largest`` elements; and what is
    `APART`, with all it is made of, where that follows from ``sources`` and ``others``. The first ``always``
    placeholders stay arguments of the body, needed or not."""
    placeholders = [n for n in graph.graph.nodes if n.op == "placeholder"]
    given, also = {placeholders[i] for i in sources}, {placeholders[i] for i in others}
    apart = _behind_apart(graph, given | also)
    sources = sorted({*sources, *(i for i in others if placeholders[i] in apart)})
    given |= also & apart
    free, taken = set[Node](), set[Node]()  # free: costs nothing to have in both; taken: to be computed once
    for n in graph.graph.nodes:
        inputs = n.all_input_nodes
        if n.op != "call_function" or not all(i in given or i in free or i in taken for i in inputs):
            continue
        views = getattr(n.target, "is_view", False)
        if not inputs or (views and not any(i in taken for i in inputs)):
            free.add(n)
        elif n in apart or (_elements(n) <= largest and not any(i in also for i in inputs)):
            taken.add(n)
    results = [n for n in graph.graph.nodes if n in taken and any(u not in taken for u in n.users)]

    first, env = Graph(), dict[Node, Node]()
    for n in graph.graph.nodes:
        if n in given:
            env[n] = first.placeholder(n.name)
        elif n in free or n in taken:
            env[n] = first.node_copy(n, env.__getitem__)
    first.output(tuple(env[n] for n in results))
    first.eliminate_dead_code()

    rest, env = Graph(), dict[Node, Node]()
    for n in placeholders:
        env[n] = rest.placeholder(n.name)
    for n in results:
        env[n] = rest.placeholder(f"small_{n.name}")
    for n in graph.graph.nodes:
        if n.op == "output":
            rest.output(map_arg(n.args[0], env.__getitem__))
        elif n.op != "placeholder" and n not in taken:
            env[n] = rest.node_copy(n, env.__getitem__)
    rest.eliminate_dead_code()
    kept = [n for n in rest.nodes if n.op == "placeholder"][: len(placeholders)]
    needed = [i for i, n in enumerate(kept) if n.users or i < always]
    for i in set(range(len(kept))) - set(needed):
        rest.erase_node(kept[i])
    examples = tuple(n.meta["val"] for n in results)
    return Split(GraphModule(graph, first), GraphModule(graph, rest), tuple(sources), tuple(needed), examples)


def _behind_apart(graph: GraphModule, given: set[Node]) -> set[Node]:
    """The nodes `APART` that follow from ``given`` alone, and all those they follow from."""
    follows = set(given)
    for n in graph.graph.nodes:
        if n.op == "call_function" and all(i in follows for i in n.all_input_nodes):
            follows.add(n)
    wanted = [n for n in follows if n.target in APART]
    behind = set[Node]()
    while wanted:
        n = wanted.pop()
        if n not in behind:
            behind.add(n)
            wanted += n.all_input_nodes
    return behind


def _elements(n: Node) -> float:
    """Of its value, or of all its values together."""
    values = pytree.tree_leaves(n.meta.get("val"))
    return sum(v.numel() for v in values) if all(isinstance(v, Tensor) for v in values) else float("inf")


def over_steps(small: GraphModule, moving: Sequence[bool], shared: Sequence[bool]) -> Callable[..., list[Tensor]]:
    """The small graph for all steps of a block and all parts of the runs at once, its values packed: one tensor (parts,
    steps, numbers) a type. ``moving``: which arguments have an axis of steps; ``shared``: which have no axis of parts
    before it."""
    steps = torch.vmap(small, in_dims=tuple(0 if m else None for m in moving))
    alone = all(shared)
    mapped = steps if alone else torch.vmap(steps, in_dims=tuple(None if s else 0 for s in shared))

    def packed(*given: Tensor) -> list[Tensor]:
        values = [v.unsqueeze(0) if alone else v for v in mapped(*given)]
        ones = [v[0, 0] for v in values]
        return [
            torch.cat([values[i].reshape(*values[i].shape[:2], -1) for i in group], 2).contiguous()
            for group in _packed(ones)
        ]

    return packed


def pack(values: Sequence[Tensor]) -> list[Tensor]:
    """One vector for every type, of all its values; those of odd sizes last, so that the others lie well in memory."""
    return [torch.cat([values[i].reshape(-1) for i in group]) for group in _packed(values)]


def unpack(packed: Sequence[Tensor], examples: Sequence[Tensor]) -> list[Tensor]:
    """The values from their packs, in the shapes and order of ``examples``."""
    out: list[Any] = [None] * len(examples)
    for vector, group in zip(packed, _packed(examples), strict=True):
        for i, part in zip(group, vector.split([examples[i].numel() for i in group]), strict=True):
            out[i] = part.view(examples[i].shape)
    return out


def types_of(values: Sequence[Tensor]) -> list[torch.dtype]:
    return list(dict.fromkeys(v.dtype for v in values))


def _packed(values: Sequence[Tensor]) -> list[list[int]]:
    """Numbers of the values of every type, in the order in which they are packed."""
    odd = lambda i: values[i].numel() % LANES != 0  # noqa: E731
    return [sorted((i for i, v in enumerate(values) if v.dtype == d), key=odd) for d in types_of(values)]
