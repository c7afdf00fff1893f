"""Named, counter-based noise: a pure function of (seed, stream, site, step, call, element).

Two levels. A *subkey* ``(k0, k1) = Threefry2x32-20(key=(seed, stream << 16 | site), counter=(step, call))`` is made
eagerly for a block of steps; inside the step every element costs one ``mix3(index, k0, k1)``, three 32-bit multiplies.
All arithmetic is on int32 tensors (bit patterns of uint32), so the same bits come out eager, compiled, stacked, on any
number of threads and on any device. Sources: Salmon et al. 2011 (Threefry); ``mix3`` is lowbias32 (Wellons 2018) with
the second key word between its rounds, our own composition.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

I32 = torch.int32
_ROTATIONS = (13, 15, 26, 6, 17, 29, 16, 24)


def signed(c: int) -> int:
    """The Python int whose int32 bit pattern is the uint32 constant ``c``."""
    c &= 0xFFFFFFFF
    return c - (1 << 32) if c >= 1 << 31 else c


def shr(x: Any, n: int) -> Any:
    """Logical right shift: torch's ``>>`` on int32 copies the sign bit."""
    return (x >> n) & ((1 << (32 - n)) - 1)


def _rotl(x: Any, n: int) -> Any:
    return (x << n) | shr(x, 32 - n)


def threefry2x32(k0: Any, k1: Any, c0: Any, c1: Any) -> tuple[Any, Any]:
    """Threefry-2x32 with 20 rounds (Salmon et al. 2011): add, rotate, xor only. Inputs broadcast; int32 in and out,
    tensors or arrays."""
    ks = (k0, k1, k0 ^ k1 ^ 0x1BD11BDA)
    x0, x1 = c0 + k0, c1 + k1
    for r in range(20):
        x0 = x0 + x1
        x1 = _rotl(x1, _ROTATIONS[r % 8]) ^ x0
        if r % 4 == 3:
            j = r // 4 + 1
            x0, x1 = x0 + ks[j % 3], x1 + ks[(j + 1) % 3] + j
    return x0, x1


def mix3(i: Any, k0: Any, k1: Any) -> Any:
    """32 well-mixed bits for element ``i`` under the subkey ``(k0, k1)``; logical shifts, three multiplies."""
    z = i + k0
    z = (z ^ shr(z, 16)) * 0x21F0AAAD
    z = (z ^ shr(z, 15)) * signed(0xD35A2D97)
    z = (z ^ shr(z, 15) ^ k1) * signed(0xED5AD4BB)
    return z ^ shr(z, 16)


def stream(name: str) -> int:
    """The 16-bit number of a named stream: the first 16 bits of its SHA-256. Part of the file format."""
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:2], "big")


def subkeys(seed: Tensor, streams: Tensor, step: Tensor, call: Tensor) -> Tensor:
    """Subkeys, shape broadcast(seed, streams, step, call) + (2,); ``streams`` holds ``stream << 16 | site``."""
    return torch.stack(threefry2x32(seed, streams, step, call), -1)


class Noise:
    """A source of noise for one stage call: draws are pure functions of its subkey.

    ``key``: int32 tensor (2,). ``row0``: global number of the batch's first row, so that data-parallel ranks and
    micro-batches draw what one process would. Draws made in turn from one source differ; the first axis is the rows
    unless ``shared`` is set (one draw for the whole batch).
    """

    def __init__(self, key: Tensor, row0: int | Tensor = 0) -> None:
        self._key, self._row0, self._draws = key, row0, 0

    def bits(self, shape: tuple[int, ...], shared: bool = False) -> Tensor:
        """int32 bit patterns, uniform over 2^32."""
        # never 0-d: Inductor rounds the multipliers of a stacked 0-d integer product to float32
        k0, k1 = self._key[..., 0].view(1), self._key[..., 1].view(1)
        if self._draws:  # every further draw has a subkey of its own
            n = torch.full((1,), self._draws, dtype=I32, device=self._key.device)
            k0, k1 = mix3(n, k0, k1), mix3(n, k1, k0)
        self._draws += 1
        n = math.prod(shape)
        i = torch.arange(n, dtype=I32, device=self._key.device)
        if not shared and not (isinstance(self._row0, int) and self._row0 == 0):
            i = i + self._row0 * (n // max(shape[0] if shape else 1, 1))
        return mix3(i, k0, k1).view(shape)

    def uniform(self, shape: tuple[int, ...], dtype: torch.dtype = torch.float32, shared: bool = False) -> Tensor:
        """U[0, 1) with 24 random bits, exact in float32; cast to ``dtype``."""
        return (shr(self.bits(shape, shared), 8).to(torch.float32) * 2.0**-24).to(dtype)

    def bernoulli(self, shape: tuple[int, ...], p: Tensor | float, shared: bool = False) -> Tensor:
        """Boolean, True with probability ``p``, exact to 2^-24; p = 0 never, p = 1 always."""
        p = p.to(torch.float32) if isinstance(p, Tensor) else p
        return self.uniform(shape, torch.float32, shared) < p

    def normal(self, shape: tuple[int, ...], dtype: torch.dtype = torch.float32, shared: bool = False) -> Tensor:
        """N(0, 1) by the Box-Muller transform of two uniforms; |z| ≤ 5.77."""
        work = torch.float64 if dtype == torch.float64 else torch.float32
        u = 1.0 - self.uniform(shape, work, shared)  # (0, 1]: its logarithm is finite
        v = self.uniform(shape, work, shared)
        return (torch.sqrt(-2.0 * torch.log(u)) * torch.cos(2.0 * math.pi * v)).to(dtype)


def source(seed: int, name: str, *counters: int) -> Noise:
    """An eager noise source outside the step: ``source(seed, "split")``, ``source(seed, "order", epoch)``."""
    return Noise(torch.from_numpy(np.concatenate(_subkeys([seed], name, *counters))))


def _subkeys(seeds: Sequence[int], name: str, *counters: int) -> tuple[Any, Any]:
    """The two key words of a named source outside the step, for each seed."""
    step, call = (*counters, 0, 0)[:2]
    return threefry2x32(words(seeds), words([stream(name) << 16]), words([step]), words([call]))


def words(values: Sequence[int]) -> Any:
    """Words of 32 bits as an array: on the host, numpy computes keys in a third of PyTorch's time."""
    return np.array([signed(v) for v in values], np.int32)


def permutation(seed: int, name: str, n: int, *counters: int) -> Tensor:
    """A random permutation of 0 … n−1 (int64): the order of 62 random bits per element, ties by position."""
    return permutations([seed], name, n, *counters)[0]


def permutations(seeds: Sequence[int], name: str, n: int, *counters: int) -> list[Tensor]:
    """Those of several seeds. On the host, where numpy sorts four times as fast; 31 bits each of two draws in turn."""
    k0, k1 = _subkeys(seeds, name, *counters)
    i, one = np.arange(n, dtype=np.int32), words([1])
    keys = zip(k0[:, None], k1[:, None], mix3(one, k0, k1)[:, None], mix3(one, k1, k0)[:, None], strict=True)
    out = []
    for a, b, c, d in keys:
        high, low = mix3(i, a, b) & 0x7FFFFFFF, mix3(i, c, d) & 0x7FFFFFFF
        drawn = (high.astype(np.int64) << 31) | low
        order = np.argsort(drawn)
        ranked = drawn[order]
        if (ranked[1:] == ranked[:-1]).any():  # the fast order of ties is the processor's
            order = np.argsort(drawn, kind="stable")
        out.append(torch.from_numpy(order))
    return out
