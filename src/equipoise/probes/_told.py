"""What rows tell of each other's targets, whatever the network: a kernel ridge regression, read by several probes."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from ..probe import ratio

PENALTIES = torch.logspace(-3, 3, 13, dtype=torch.float64).tolist()


class Told(NamedTuple):
    """Squared errors of the targets, row by row, in variances of the targets. A row never helps to tell itself."""

    fit_by_fit: Tensor
    stop_by_fit: Tensor
    stop_by_stop: Tensor
    fit_by_stop: Tensor
    rows: tuple[int, int]  # of fit and of stop in the data; the errors are those of up to 512 each

    @property
    def share_wrong(self) -> float:
        """(e_fit − e_stop)/(2(1 − e_stop)), errors told by stop: a target drawn anew lies 1 + R² from what its inputs
        tell, a right one 1 − R²."""
        right = float(self.stop_by_stop.mean())
        return ratio(float(self.fit_by_stop.mean()) - right, 2 * (1 - right)) if right < 1 else float("nan")


def told(fit: tuple[Tensor, Tensor], stop: tuple[Tensor, Tensor], rows: tuple[int, int]) -> Told:
    """From (inputs, targets), a row an example. Floating inputs are standardized; whole numbers are names, compared
    place by place. Targets are as the objective sees them."""
    (a, ya), (b, yb) = fit, stop
    if a.is_floating_point():
        a, b = _standard(_flat(a), _flat(b))
    ya, yb = _flat(ya), _flat(yb)
    both = torch.cat([ya, yb])
    spread = (both - both.mean(0)).square().sum(1).mean()
    aa, bb, ab = _squares(a, a), _squares(b, b), _squares(a, b)
    fit_by_fit, stop_by_fit = _errors(aa, ya, ab.T, yb)
    stop_by_stop, fit_by_stop = _errors(bb, yb, ab, ya)
    return Told(fit_by_fit / spread, stop_by_fit / spread, stop_by_stop / spread, fit_by_stop / spread, rows)


def _flat(v: Tensor) -> Tensor:
    return v.detach().cpu().double().flatten(1).nan_to_num(0.0, 0.0, 0.0)


def _standard(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """Both in standard deviations of both, by column."""
    both = torch.cat([a, b])
    scale = both.std(0, correction=0)
    scale = torch.where(scale > 0, scale, 1.0)
    return (a - both.mean(0)) / scale, (b - both.mean(0)) / scale


def _squares(a: Tensor, b: Tensor) -> Tensor:
    """Squared distances of rows; the number of places that differ where the inputs are names."""
    if a.is_floating_point():
        return torch.cdist(a, b).square()
    return sum((x[:, None] != y[None]).double() for x, y in zip(a.flatten(1).T, b.flatten(1).T, strict=True))  # pyright: ignore[reportReturnType]


def _errors(own: Tensor, y: Tensor, others: Tensor, y_others: Tensor) -> tuple[Tensor, Tensor]:
    """Squared errors of the rows themselves, each told by the others of them (leave one out), and of other rows.

    f = ȳ + k(·, X)(K + λI)⁻¹(y − ȳ), k = exp(−d²/median d²); the error of a row left out is α_i/[(K + λI)⁻¹]_ii, and λ
    is the one that makes these least.
    """
    scale = own[own > 0].median() if bool((own > 0).any()) else torch.tensor(1.0)
    mean = y.mean(0)
    values, vectors = torch.linalg.eigh(torch.exp(-own / scale))
    turned, best = vectors.T @ (y - mean), None
    for penalty in PENALTIES:
        g = 1 / (values.clamp_min(0.0) + penalty)
        alpha = vectors @ (g[:, None] * turned)
        left_out = (alpha / ((vectors * vectors) @ g)[:, None]).square().sum(1)
        if best is None or left_out.sum() < best[0].sum():
            best = left_out, alpha
    assert best is not None
    guess = mean + torch.exp(-others / scale) @ best[1]
    return best[0], (y_others - guess).square().sum(1)
