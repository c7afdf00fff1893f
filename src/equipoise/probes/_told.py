"""What rows tell of each other's targets, whatever the network: a kernel ridge regression on all of them, and how
likely chance alone makes the rows of `fit` worse told than those of `stop`."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from ..probe import ratio

PENALTIES = torch.logspace(-3, 3, 13, dtype=torch.float64).tolist()
DRAWS = 9_999  # relabellings: .001 is then known to .0003
BIN, BINS = 20, 10  # rows of a stratum of targets that are numbers, and strata, as splits are made


class Told(NamedTuple):
    """Row by row, those of fit first, in variances of the targets y: what the other rows, of fit and of stop alike,
    tell of the target, f. Which rows are called fit plays no part in it. ȳ: the mean of all."""

    agreement: Tensor  # (y − ȳ)·(f − ȳ)
    size: Tensor  # ‖f − ȳ‖²
    error: Tensor  # ‖y − f‖²
    stratum: Tensor  # class, or bin of the (first) target
    fit: int  # how many rows are those of fit

    @property
    def excess(self) -> Tensor:
        """‖y − f‖² − ‖y − ȳ‖²: what f does worse than the mean."""
        return self.size - 2 * self.agreement

    @property
    def share(self) -> float:
        """Of the variance of stop's targets, what other rows tell: 1 − mean ‖y − f‖²; below 0 where they mislead."""
        return 1 - float(self.error[self.fit :].mean())

    @property
    def share_wrong(self) -> float:
        """1 − b_fit/b_stop, b the slope of the targets on what is told of them: 0 for targets drawn anew."""
        fit, stop = (ratio(*(v[k].sum() for v in (self.agreement, self.size))) for k in self._roles)
        return 1 - fit / stop if stop > 0 else math.nan

    @property
    def _roles(self) -> tuple[slice, slice]:
        return slice(None, self.fit), slice(self.fit, None)


def told(fit: tuple[Tensor, Tensor], stop: tuple[Tensor, Tensor]) -> Told:
    """From (inputs, targets), a row an example. Floating inputs are standardized; whole numbers are names, compared
    place by place. Targets are as the objective sees them: of classes one column each."""
    x, y = torch.cat([fit[0].cpu(), stop[0].cpu()]), torch.cat([_flat(fit[1]), _flat(stop[1])])
    centred = y - y.mean(0)
    spread = centred.square().sum(1).mean()
    f = left_out(_squares(_standard(_flat(x)) if x.is_floating_point() else x), centred)
    agreement, size, error = (centred * f).sum(1), f.square().sum(1), (centred - f).square().sum(1)
    return Told(agreement / spread, size / spread, error / spread, strata(y), len(fit[1]))


def _flat(v: Tensor) -> Tensor:
    return v.detach().cpu().double().flatten(1).nan_to_num(0.0, 0.0, 0.0)


def _standard(x: Tensor) -> Tensor:
    """In standard deviations, by column."""
    scale = x.std(0, correction=0)
    return (x - x.mean(0)) / torch.where(scale > 0, scale, 1.0)


def _squares(x: Tensor) -> Tensor:
    """Squared distances of rows; the number of places that differ where the inputs are names."""
    if x.is_floating_point():
        return torch.cdist(x, x).square()
    return sum((v[:, None] != v[None]).double() for v in x.flatten(1).T)  # pyright: ignore[reportReturnType]


def left_out(squares: Tensor, y: Tensor) -> Tensor:
    """What the other rows tell of each row's y (n, T), whose mean over all rows is 0.

    f = k(·, X)(K + λI)⁻¹y, k = exp(−d²/median d²); the error of a row left out is α_i/[(K + λI)⁻¹]_ii, and λ is the one
    that makes these least.
    """
    some = squares[squares > 0]
    scale = some.median() if len(some) else torch.tensor(1.0)
    values, vectors = torch.linalg.eigh(torch.exp(-squares / scale))
    turned, powers, best = vectors.T @ y, vectors * vectors, None
    for penalty in PENALTIES:
        g = 1 / (values.clamp_min(0.0) + penalty)
        error = (vectors @ (g[:, None] * turned)) / (powers @ g)[:, None]
        if best is None or error.square().sum() < best.square().sum():
            best = error
    assert best is not None
    return y - best


def strata(y: Tensor) -> Tensor:
    """Stratum of each row: its class where each row of y holds a single 1, else the bin of its first target, by value,
    so that equal targets are in one bin."""
    if y.shape[1] > 1 and bool(((y == 0) | (y == 1)).all()) and bool((y.sum(1) == 1).all()):
        return y.argmax(1)
    first, bins = y[:, 0].contiguous(), max(1, min(BINS, len(y) // BIN))
    edges = first.quantile(torch.arange(1, bins, dtype=torch.float64) / bins)
    return torch.searchsorted(edges, first, right=True)


def chance(t: Told) -> tuple[float, float]:
    """(p, z) of Σ excess over the rows of fit among random relabellings that keep how many rows of each stratum are
    fit's: the share of them, and of the rows as they are, that are at least as large; and the distance to their mean in
    their deviations. Where rows were divided by chance, by stratum or not, p ≤ α with probability α at most."""
    g, v = np.random.default_rng(0), t.excess.numpy()
    label, stratum = np.arange(len(v)) < t.fit, t.stratum.numpy()
    drawn, seen = np.zeros(DRAWS), float(v[label].sum())
    for k in np.unique(stratum):
        mine = stratum == k
        n = int((mine & label).sum())
        if 0 < n < mine.sum():
            drawn += g.permuted(np.broadcast_to(v[mine], (DRAWS, int(mine.sum()))), axis=1)[:, :n].sum(1)
        else:
            drawn += v[mine & label].sum()
    slack = 1e-9 * float(np.abs(v).sum())  # of sums that are equal but for their order
    return (1 + int((drawn >= seen - slack).sum())) / (DRAWS + 1), ratio(seen - drawn.mean(), drawn.std())
