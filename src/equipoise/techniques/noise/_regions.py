"""Pooling regions in steps of one and two: drawn at random, or fixed, and the plain layer with the fixed ones."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from ...errors import EquipoiseError

UNIT = 1 << 24  # draws are whole numbers below this


def regions_out(n: int, alpha: float, overlapping: bool) -> int:
    """How many regions n pixels give: ⌊n/α⌋, kept where steps of one and two reach from end to end."""
    span = n - overlapping
    if span < 1:
        raise EquipoiseError(f"FractionalMaxPool of {n} pixel{'s' * (n > 1)}: overlapping regions need two or more.")
    return min(max(int(n / alpha), -(-span // 2)), span)


def random_edges(n: int, alpha: float, overlapping: bool, noise: Any) -> Tensor:
    """a_0 = 0 < a_1 < … with steps of one and two in random order, every order equally likely; int64 (regions + 1,)."""
    out = regions_out(n, alpha, overlapping)
    twos = n - overlapping - out
    rank = noise.uniform((out,), shared=True).argsort(stable=True).argsort()
    return edges_of(1 + (rank < twos).long())


def pseudorandom_edges(n: int, alpha: float, overlapping: bool, draw: Tensor | int) -> Tensor:
    """a_i = ⌈α′(i + u)⌉ − ⌈α′u⌉ for u = draw/2²⁴, α′ = span/regions: steps spread as evenly as whole numbers allow."""
    out = regions_out(n, alpha, overlapping)
    span = n - overlapping
    i = torch.arange(out + 1, device=draw.device if isinstance(draw, Tensor) else None)
    up = -((-span * (i * UNIT + draw)) // (out * UNIT))  # ⌈·⌉ in whole numbers: the last edge is exact
    return up - up[0]


def edges_of(steps: Tensor) -> Tensor:
    return torch.cat([torch.zeros_like(steps[:1]), steps.cumsum(0)])


def pool(x: Tensor, rows: Tensor, columns: Tensor, overlapping: bool) -> Tensor:
    """The maximum of x (…, H, W) over the regions between the edges ``rows`` × ``columns``."""
    return _along(_along(x, -1, columns, overlapping), -2, rows, overlapping)


def _along(x: Tensor, dim: int, edges: Tensor, overlapping: bool) -> Tensor:
    """Region i: pixels a_i … a_{i+1} − 1, or a_i … a_{i+1} where they overlap: at most three, some named twice."""
    first, last = edges[:-1], edges[1:] - (0 if overlapping else 1)
    out = torch.maximum(x.index_select(dim, first), x.index_select(dim, last))
    return torch.maximum(out, x.index_select(dim, first + 1)) if overlapping else out


class FixedFractionalMaxPool2d(nn.Module):
    """Max pooling of (…, H, W) over the fixed regions of `FractionalMaxPool` (u = ½): what prediction does."""

    alpha: float
    overlapping: bool

    def forward(self, x: Tensor) -> Tensor:
        rows, columns = (
            pseudorandom_edges(n, self.alpha, self.overlapping, UNIT // 2).to(x.device) for n in x.shape[-2:]
        )
        return pool(x, rows, columns, self.overlapping)

    def extra_repr(self) -> str:
        return f"alpha={self.alpha:g}, overlapping={self.overlapping}"
