"""What the tests of the noise share: uint32 words as tensors, keys by counters, plausibility of a statistic."""

from __future__ import annotations

import math

import numpy as np
import torch
from scipy import stats
from torch import Tensor

from equipoise.rng import I32, signed, stream, subkeys

ALPHA = 1e-7
MASK = 0xFFFFFFFF


def t(*values: int) -> Tensor:
    """uint32 values as int32 bit patterns."""
    return torch.tensor([signed(v) for v in values], dtype=I32)


def u32(x: Tensor) -> np.ndarray:
    """int32 bit patterns as uint32 values."""
    return x.contiguous().numpy().view(np.uint32)


def key_of(seed: int = 0, name: str = "x", site: int = 0, step: int = 0, call: int = 0) -> Tensor:
    return subkeys(*t(seed), *t(stream(name) << 16 | site), *t(step), *t(call))


def unit(x: Tensor) -> np.ndarray:
    """Bits as numbers of mean 0 and variance 1."""
    return (u32(x) / 2.0**32 + 2.0**-33 - 0.5) * math.sqrt(12)


def assert_plausible(p: float) -> None:
    """Neither too far from what is expected nor too close to it."""
    assert ALPHA < p < 1 - ALPHA, p


def chi2_p(counts: np.ndarray, expected: np.ndarray | float | None = None) -> float:
    counts = counts.ravel()
    expected = np.broadcast_to(counts.mean() if expected is None else expected, counts.shape)
    return float(stats.chi2.sf(((counts - expected) ** 2 / expected).sum(), len(counts) - 1))


def many_keys(n: int) -> tuple[Tensor, Tensor]:
    """The words of the subkeys of n steps."""
    return subkeys(*t(3), *t(stream("x") << 16), torch.arange(n, dtype=I32), *t(0)).unbind(-1)
