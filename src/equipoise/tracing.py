"""Tracing the pure step into one graph, and splitting off its arithmetic on scalars.

Knobs, rate and clock are scalars of a run: what is computed from them alone (bias corrections, warmed-up strengths)
would otherwise be computed again for every few elements of the parameters, because a compiler fuses it into the loops
over them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.fx import Graph, GraphModule, Node, map_arg
from torch.utils import _pytree as pytree


def trace(step: Callable[..., Any], args: tuple[Any, ...]) -> tuple[GraphModule, Any]:
    """``step`` as a flat graph (leaves of ``args`` → leaves of its result), and the structure of the result. No
    transform and no Python of ours is left in it."""
    from torch.fx.experimental.proxy_tensor import make_fx

    leaves, spec = pytree.tree_flatten(args)
    seen: list[Any] = []

    def flat(*given: Tensor) -> list[Tensor]:
        out, s = pytree.tree_flatten(step(*pytree.tree_unflatten(list(given), spec)))
        seen.append(s)
        return out

    graph = make_fx(flat)(*leaves)
    graph.graph.eliminate_dead_code()
    graph.recompile()
    return graph, seen[0]


class Split(NamedTuple):
    """A graph in two: ``scalars`` (of the placeholders numbered ``sources``) → values that ``body`` takes behind the
    placeholders of the whole."""

    scalars: GraphModule
    body: GraphModule
    sources: tuple[int, ...]
    values: int


def split_scalars(graph: GraphModule, sources: Sequence[int], largest: int) -> Split:
    """Take out what depends on the placeholders ``sources`` alone and has at most ``largest`` elements."""
    placeholders = [n for n in graph.graph.nodes if n.op == "placeholder"]
    taken = {placeholders[i] for i in sources}
    for n in graph.graph.nodes:
        inputs = n.all_input_nodes
        if n.op == "call_function" and inputs and all(i in taken for i in inputs):
            value = n.meta.get("val", n.meta.get("tensor_meta"))
            if isinstance(value, Tensor) and value.numel() <= largest:
                taken.add(n)
    given = [
        n for n in graph.graph.nodes if n in taken and n.op != "placeholder" and any(u not in taken for u in n.users)
    ]

    first, env = Graph(), dict[Node, Node]()
    for n in graph.graph.nodes:
        if n in taken:
            env[n] = first.placeholder(n.name) if n.op == "placeholder" else first.node_copy(n, env.__getitem__)
    first.output(tuple(env[n] for n in given))

    rest, env = Graph(), dict[Node, Node]()
    for n in placeholders:
        env[n] = rest.placeholder(n.name)
    for n in given:
        env[n] = rest.placeholder(f"scalar_{n.name}")
    for n in graph.graph.nodes:
        if n.op == "output":
            rest.output(map_arg(n.args[0], env.__getitem__))
        elif n.op != "placeholder" and n not in taken:
            env[n] = rest.node_copy(n, env.__getitem__)
    rest.eliminate_dead_code()
    return Split(GraphModule(graph, first), GraphModule(graph, rest), tuple(sources), len(given))


def over_steps(scalars: GraphModule, moving: Sequence[bool], args: Sequence[Tensor]) -> GraphModule:
    """The graph of scalars for all steps of a block at once; ``moving``: which arguments have an axis of steps."""
    mapped = torch.vmap(scalars, in_dims=tuple(0 if m else None for m in moving))
    return trace(lambda *given: [v.contiguous() for v in mapped(*given)], tuple(args))[0]
