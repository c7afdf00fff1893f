"""What the preparations of inputs share: which inputs are numbers, which axes a statistic runs over, sums in pieces."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor

from ...errors import EquipoiseError

PIECE = 1 << 21  # values held as float64 at once (16 MB): fitting needs little memory beside the data


def is_number(v: Tensor) -> bool:
    """Bytes of an image and floats are numbers to scale; other whole numbers are tokens."""
    return v.is_floating_point() or v.dtype == torch.uint8


def each(x: Any, f: Callable[[int, Tensor], Tensor]) -> Any:
    """``f(i, v)`` of every input ``v`` of numbers; tokens pass unchanged."""
    if isinstance(x, tuple):
        return tuple(f(i, v) if is_number(v) else v for i, v in enumerate(x))
    return f(0, x) if is_number(x) else x


def wanted(t: object, x: Any, least_axes: int = 1, what: str = "numbers") -> list[tuple[int, Tensor]]:
    """The inputs of numbers with at least that many axes, numbered; raises EquipoiseError where there are none."""
    inputs = enumerate(x if isinstance(x, tuple) else (x,))
    found = [(i, v) for i, v in inputs if is_number(v) and v.dim() >= least_axes]
    if not found:
        came = ", ".join(f"{str(v.dtype)[6:]} {tuple(v.shape[1:])}" for v in (x if isinstance(x, tuple) else (x,)))
        raise EquipoiseError(f"{t!r} is for {what}, but a row of the data is {came}: leave it out.")
    return found


def axes(v: Tensor) -> list[int]:
    """Rows and positions: what is left is the feature (…, F), or the channel of an image (B, C, H, W)."""
    return [0, *range(2, v.dim())] if v.dim() >= 4 else list(range(v.dim() - 1))


def pieces(v: Tensor) -> Iterator[Tensor]:
    """The rows of ``v`` in float64, a few at a time."""
    rows = max(1, PIECE // max(v[:1].numel(), 1))
    for a in range(0, len(v), rows):
        yield v[a : a + rows].double()


def mean_over(v: Tensor, dims: list[int]) -> Tensor:
    """Mean over the axes ``dims`` (rows among them), float64, in the shape that broadcasts over one example."""
    total = sum(p.sum(dims, keepdim=True) for p in pieces(v))
    assert isinstance(total, Tensor)
    return (total * (total.numel() / v.numel()))[0]


def moments(v: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation (1/n) per feature or channel, float64; in two passes: an offset costs no digits."""
    dims = axes(v)
    mean = mean_over(v, dims)
    total = sum((p - mean).square_().sum(dims, keepdim=True) for p in pieces(v))
    assert isinstance(total, Tensor)
    return mean, (total * (total.numel() / v.numel()))[0].sqrt()
