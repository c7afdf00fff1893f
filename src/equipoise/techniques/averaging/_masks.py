"""Bernoulli draws by code instead of by chance, so that all masks of a few units can be gone through."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from ...errors import EquipoiseError
from ...rng import Noise


class TooMany(EquipoiseError):
    """The masks cannot be enumerated: more units than allowed, or draws that are not Bernoulli."""


class Masks:
    """A source of noise, called as (technique key, site, call). Every Bernoulli unit met in the first pass gets a bit;
    later passes read the bits of `code`, the same mask for every row. ``net``: the network whose noise it stands in
    for; ``most``: the units it takes at most."""

    def __init__(self, net: Any, most: int) -> None:
        self._entries, self._most = net.entries, most
        self._device = next(net.module.parameters()).device
        self._places: dict[tuple[Any, ...], int] = {}  # a draw → the number of its first bit
        self._chances: list[Tensor] = []  # per draw, the probabilities (units,) of a bit to be set
        self.units, self.code = 0, 0

    def __call__(self, who: Any, site: int, call: int) -> Noise | None:
        return _Coded(self, (who, site, call)) if (who, site, call) in self._entries else None

    @property
    def probability(self) -> Tensor:
        """Of the mask of `code`; 0-d float64."""
        if not self.units:
            return torch.ones((), dtype=torch.float64, device=self._device)
        chance = torch.cat(self._chances)
        return torch.where(self._bits(0, self.units), chance, 1 - chance).prod()

    def _bits(self, first: int, n: int) -> Tensor:
        bits = [bool(self.code >> (first + i) & 1) for i in range(n)]
        return torch.tensor(bits, dtype=torch.bool, device=self._device)

    def draw(self, place: tuple[Any, ...], shape: tuple[int, ...], p: Any) -> Tensor:
        """The mask (1 row, or the shape where a draw is shared) of one draw."""
        n = math.prod(shape)
        if place not in self._places:
            if self.units + n > self._most:
                raise TooMany
            chance = torch.as_tensor(p, dtype=torch.float64, device=self._device).expand(shape).reshape(-1)
            self._places[place], self.units = self.units, self.units + n
            self._chances.append(chance)
        return self._bits(self._places[place], n).view(shape)


class _Coded(Noise):
    """The draws of one stage call."""

    def __init__(self, masks: Masks, place: tuple[Any, ...]) -> None:
        self._masks, self._place, self._number = masks, place, 0

    def bernoulli(self, shape: tuple[int, ...], p: Tensor | float, shared: bool = False) -> Tensor:
        self._number += 1
        one = shape if shared else (1, *shape[1:])
        return self._masks.draw((*self._place, self._number), one, p).expand(shape)

    def bits(self, shape: tuple[int, ...], shared: bool = False) -> Tensor:
        raise TooMany

    def uniform(self, shape: tuple[int, ...], dtype: torch.dtype = torch.float32, shared: bool = False) -> Tensor:
        raise TooMany

    def normal(self, shape: tuple[int, ...], dtype: torch.dtype = torch.float32, shared: bool = False) -> Tensor:
        raise TooMany
