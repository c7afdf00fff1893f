"""The loss along a step: what several probes read, measured once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch

from .. import tree
from ..probe import ratio
from ..technique import Params

Gradient = Callable[[Params], tuple[Params, float]]


class Along(NamedTuple):
    """Loss, ‖g′ − g‖, ‖g′ − g‖/‖cΔ‖ and cos(g, g′) at θ + cΔ for each length c; the step's length over ‖g‖."""

    lengths: list[float]
    loss: list[float]
    change: list[float]
    beta: list[float]
    cosine: list[float]
    eta: float  # ‖Δ‖/‖g‖: the rate, for plain SGD
    start: tuple[float, float]  # φ(0), φ′(0) of φ(c) = L(θ + cΔ)
    end: tuple[float, float]  # φ(1), φ′(1)


def along(gradient: Gradient, params: Params, step: Params, lengths: Sequence[float]) -> Along:
    """The loss surface at θ + c·Δ for the lengths c, and at 0 and 1: gradients on one fixed batch. Parameters that the
    step does not name stay where they are."""
    at = lambda c: gradient({k: v + c * step[k] if k in step else v for k, v in params.items()})  # noqa: E731
    g, loss = at(0.0)
    there, there_loss = at(1.0)
    size, norm = float(tree.norm(step)), float(tree.norm(g))
    out = Along(
        list(lengths), [], [], [], [], ratio(size, norm), (loss, _inner(g, step)), (there_loss, _inner(there, step))
    )
    for c in lengths:
        there, loss = at(c)
        change = float(tree.norm(tree.zip_map(torch.sub, there, g)))
        out.loss.append(loss)
        out.change.append(change)
        out.beta.append(ratio(change, c * size))
        out.cosine.append(ratio(_inner(there, g), float(tree.norm(there)) * norm))
    return out


def _inner(a: Params, b: Params) -> float:
    return float(sum((a[k] * v).sum() for k, v in b.items()))
