"""Bernoulli draws by code instead of by chance, so that all masks of a few units can be gone through."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ...errors import EquipoiseError
from ...rng import Noise


class TooMany(EquipoiseError):
    """The masks cannot be enumerated: more units than allowed, or draws that are not Bernoulli."""


class Masks:
    """A source of noise, called as (technique key, site, call). Every Bernoulli unit met in the first pass gets a bit,
    unless its probability is 0 or 1; later passes read the bits of `code`, the same mask for every row. ``net``: the
    network whose noise it stands in for; ``most``: the units it takes at most."""

    def __init__(self, net: Any, most: int) -> None:
        self._entries, self._most = net.entries, most
        self._device = next(net.module.parameters()).device
        self._draws: dict[tuple[Any, ...], tuple[int, Tensor]] = {}  # → its first bit, probabilities (units,)
        self.units, self.code = 0, 0

    def __call__(self, who: Any, site: int, call: int) -> Noise | None:
        return _Coded(self, (who, site, call)) if (who, site, call) in self._entries else None

    @property
    def probability(self) -> Tensor:
        """Of the mask of `code`; 0-d float64."""
        total = torch.ones((), dtype=torch.float64, device=self._device)
        for draw, (_, chance) in self._draws.items():
            total = total * torch.where(self._mask(draw), chance, 1 - chance).prod()
        return total

    def _mask(self, draw: tuple[Any, ...]) -> Tensor:
        first, chance = self._draws[draw]
        free = (chance > 0) & (chance < 1)
        number = first + free.cumsum(0) - 1  # of each free unit's bit
        bit = (torch.tensor(self.code, device=self._device) >> number.clamp(min=0)) & 1
        return torch.where(free, bit == 1, chance == 1)

    def draw(self, draw: tuple[Any, ...], shape: tuple[int, ...], p: Any) -> Tensor:
        """The mask (one row, or the whole shape where a draw is shared) of one draw."""
        if draw not in self._draws:
            chance = torch.as_tensor(p, dtype=torch.float64, device=self._device).expand(shape).reshape(-1)
            self._draws[draw] = self.units, chance
            self.units += int(((chance > 0) & (chance < 1)).sum())
            if self.units > self._most:
                raise TooMany(f"more than {self._most} units are drawn")
        return self._mask(draw).view(shape)


class _Coded(Noise):
    """The draws of one stage call."""

    def __init__(self, masks: Masks, place: tuple[Any, ...]) -> None:
        self._masks, self._place, self._number = masks, place, 0

    def bernoulli(self, shape: tuple[int, ...], p: Tensor | float, shared: bool = False) -> Tensor:
        self._number += 1
        one = shape if shared else (1, *shape[1:])
        return self._masks.draw((*self._place, self._number), one, p).expand(shape)

    def bits(self, shape: tuple[int, ...], shared: bool = False) -> Tensor:
        raise TooMany("a draw is not Bernoulli")

    def uniform(self, shape: tuple[int, ...], dtype: torch.dtype = torch.float32, shared: bool = False) -> Tensor:
        raise TooMany("a draw is not Bernoulli")

    def normal(self, shape: tuple[int, ...], dtype: torch.dtype = torch.float32, shared: bool = False) -> Tensor:
        raise TooMany("a draw is not Bernoulli")
