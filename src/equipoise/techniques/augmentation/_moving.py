"""Augmentations that only move pixels: neighbours in a recipe act as one gather, on bytes where images are bytes.

One gather costs the same whatever it moves; a byte takes a fourth of a float's memory, and floats come into it later.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ...technique import At, Batch
from ._image import ImageAugmentation, of_input


class Places(NamedTuple):
    """Where pixels come from: out[b, c, i, j] = x[b, c, rows[b, i], columns[b, j]]; −1 is no pixel, filled."""

    rows: Tensor  # (B, H) int64
    columns: Tensor  # (B, W) int64
    fill: Tensor | float | None = None  # (C, 1, 1) or a number; None: every place is a pixel


def move_together(batch: Batch, movers: Sequence[tuple[Any, At]]) -> Batch:
    """The batch after all ``movers`` in turn (entries, and what each is told), by one gather an input."""
    one = lambda v, i: _moved(v, [(t, of_input(at, i)) for t, at in movers]) if v.dim() == 4 else v  # noqa: E731
    if not isinstance(batch.x, tuple):
        return batch._replace(x=one(batch.x, 0))
    return batch._replace(x=tuple(one(v, i) for i, v in enumerate(batch.x)))


class PixelMover(ImageAugmentation):
    """Base: `move` says where the pixels of a batch come from."""

    together = staticmethod(move_together)

    def batch(self, batch: Batch, at: At) -> Batch:
        return move_together(batch, [(self, at)])

    def move(self, places: Places, at: At) -> Places:
        """``places`` of the images so far, to those of the images it makes of them."""
        raise NotImplementedError


def _moved(x: Tensor, movers: Sequence[tuple[Any, At]]) -> Tensor:
    b, h, w = len(x), *x.shape[-2:]
    every = lambda n: torch.arange(n, device=x.device).repeat(b, 1)  # noqa: E731
    places = Places(every(h), every(w))
    for t, at in movers:
        places = t.move(places, at)
    return taken(x, places)


def taken(x: Tensor, places: Places) -> Tensor:
    """The pixels of x (B, C, H, W) at ``places``: one gather, exact. Bytes stay bytes unless ``fill`` is none."""
    b, c, h, w = x.shape
    rows, columns, fill = places
    index = (rows.clamp(min=0) * w)[:, :, None] + columns.clamp(min=0)[:, None, :]
    out = x.flatten(2).gather(2, index.flatten(1)[:, None].expand(b, c, h * w)).view(b, c, h, w)
    if fill is None:
        return out
    inside = (rows >= 0).byte()[:, None, :, None] * (columns >= 0).byte()[:, None, None, :]
    if x.dtype == torch.uint8 and isinstance(fill, float):
        assert fill == 0
        return out * inside  # a fifth of the time of a choice
    return torch.where(inside.bool(), out, fill)  # of bytes and a float fill: one float image, no more


def mirror(i: Tensor, flip: Tensor) -> Tensor:
    """Places (B, n) along one axis, reversed for the chosen examples (B,)."""
    return torch.where(flip[:, None], i.flip(1), i)


def shift(i: Tensor, at: Tensor) -> Tensor:
    """i[b, at[b, k]]; −1 where ``at`` (B, n) points outside."""
    n = i.shape[1]
    return torch.where((at >= 0) & (at < n), i.gather(1, at.clamp(0, n - 1)), -1)
