"""Two ways to differentiate the objective: plain autograd for a single run, torch.func for a stack under vmap; and
either of them on a batch in parts, where the whole does not fit in memory."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor

from . import tree
from .stage import Params


def by_autograd(f: Callable[[Params], tuple[Tensor, Any]]) -> Callable[[Params], tuple[Params, tuple[Tensor, Any]]]:
    """Gradients by plain autograd: what a single run uses; takes every model."""

    def value_and_grad(params: Params) -> tuple[Params, tuple[Tensor, Any]]:
        leaves = {k: v.detach().requires_grad_() for k, v in params.items()}
        with torch.enable_grad():
            loss, aux = f(leaves)
        grads = torch.autograd.grad(loss, list(leaves.values()), allow_unused=True)
        aux = {k: v.detach() for k, v in aux.items()}
        return {k: torch.zeros_like(v) if g is None else g for (k, v), g in zip(leaves.items(), grads, strict=True)}, (
            loss.detach(),
            aux,
        )

    return value_and_grad


def by_transform(f: Callable[[Params], tuple[Tensor, Any]]) -> Callable[[Params], tuple[Params, tuple[Tensor, Any]]]:
    """Gradients by torch.func: what a stack of runs uses, under vmap."""
    from torch.func import grad_and_value

    return grad_and_value(f, has_aux=True)


def in_parts(differentiate: Callable[..., Any], parts: Sequence[slice]) -> Callable[..., Any]:
    """Gradient accumulation: the same as ``differentiate``, with the memory of one part of the rows at a time.

    L = Σ_k L_k, ∇L = Σ_k ∇L_k, where f(params, rows_k) → (L_k, buffers) gives each part's share of the loss: the
    Σ_i w_i l_i of its rows by the Σ_i w_i of the batch, penalties by the same share, with the noise its rows have in
    the batch. Equal to the whole batch up to rounding where the loss is such a sum over rows. Where rows meet (batch
    statistics, a mean activation) each part is a batch of its own; buffers become the mean over parts by their rows.
    """

    def of(f: Callable[..., tuple[Tensor, Any]]) -> Callable[[Params], tuple[Params, tuple[Tensor, Any]]]:
        def value_and_grad(params: Params) -> tuple[Params, tuple[Tensor, Any]]:
            n = sum(p.stop - p.start for p in parts)
            grads, (loss, first) = differentiate(partial(f, rows=parts[0]))(params)
            buffers = dict(first)
            for rows in parts[1:]:
                more, (value, new) = differentiate(partial(f, rows=rows))(params)
                grads, loss = tree.zip_map(torch.add, grads, more), loss + value
                share = (rows.stop - rows.start) / n
                for b, v in new.items():
                    if v.is_floating_point():  # from the first part's, so that what no part changes keeps its bits
                        buffers[b] = buffers[b] + share * (v - first[b])
            return grads, (loss, buffers)

        return value_and_grad

    return of
