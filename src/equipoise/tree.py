"""Arithmetic on dicts of tensors: parameters, gradients, optimizer state."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

Tree = dict[str, Tensor]


def zip_map(f: Callable[..., Any], first: Tree, *rest: Tree) -> dict[str, Any]:
    """``{k: f(first[k], rest[0][k], …)}``."""
    return {k: f(v, *(r[k] for r in rest)) for k, v in first.items()}


def zeros_like(tree: Tree) -> Tree:
    return {k: torch.zeros_like(v) for k, v in tree.items()}


def norm(tree: Tree) -> Tensor:
    """Euclidean norm of all entries together; 0-d."""
    return torch.sqrt(sum(((v * v).sum() for v in tree.values()), torch.zeros(())))


def like(new: Tree, old: Tree) -> Tree:
    """``new`` in the dtypes of ``old``: a 0-d parameter times a float64 knob would otherwise change its type."""
    return {k: v if v.dtype == old[k].dtype else v.to(old[k].dtype) for k, v in new.items()}


def stack(trees: list[Any]) -> Any:
    """Trees of equal structure, leaves stacked on a new first axis."""
    return pytree.tree_map(lambda *leaves: torch.stack(leaves), *trees)


def member(tree: Any, i: int) -> Any:
    """Entry ``i`` of a stacked tree."""
    return pytree.tree_map(lambda v: v[i], tree)


def choose(mask: Tensor, new: Any, old: Any) -> Any:
    """Stacked trees: entries of ``new`` where ``mask`` (R,), of ``old`` elsewhere."""
    return pytree.tree_map(lambda n, o: torch.where(mask.view(-1, *([1] * (n.dim() - 1))), n, o), new, old)


def flatten(tree: Any, prefix: str = "") -> dict[str, Tensor]:
    """Nested dicts of tensors to one dict with ``outer|inner`` names (names of parameters contain dots and slashes)."""
    if isinstance(tree, Tensor):
        return {prefix: tree}
    flat: dict[str, Tensor] = {}
    for k, v in tree.items():
        flat.update(flatten(v, f"{prefix}|{k}" if prefix else str(k)))
    return flat


def unflatten(flat: dict[str, Tensor]) -> dict[str, Any]:
    """The inverse of `flatten`; empty inner dicts are not kept."""
    tree: dict[str, Any] = {}
    for name, v in flat.items():
        *path, last = name.split("|")
        node = tree
        for p in path:
            node = node.setdefault(p, {})
        node[last] = v
    return tree


def head(tree: Any, n: int) -> Any:
    """The first ``n`` entries of a stacked tree."""
    return pytree.tree_map(lambda v: v[:n], tree)


def size(tree: Any) -> int:
    """Bytes of all leaves together."""
    return sum(v.numel() * v.element_size() for v in pytree.tree_leaves(tree))
