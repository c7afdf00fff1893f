"""Two ways to differentiate the objective: plain autograd for a single run, torch.func for a stack under vmap."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

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
