"""Bagging's resamples against the law of the bootstrap, and its vote."""

from __future__ import annotations

import math

import pytest
import torch
from scipy import stats

from equipoise import techniques as T
from equipoise.errors import EquipoiseError
from equipoise.recipe import Recipe, resolve


def test_resamples_are_draws_with_replacement() -> None:
    """400 members of 500 rows: counts are multinomial (χ² over rows), and 1 − (1 − 1/n)ⁿ of the rows are in a bag."""
    n, m = 500, 400
    rows = torch.arange(n) * 3 + 7
    bags = [r for _, r in T.Bagging(m).runs(11, rows)]
    assert all(len(b) == n and set(b.tolist()) <= set(rows.tolist()) for b in bags)
    counts = torch.stack([torch.bincount((b - 7) // 3, minlength=n) for b in bags]).double()
    chi2 = float(((counts.sum(0) - m) ** 2 / m).sum())
    assert 1e-6 < stats.chi2.sf(chi2, n - 1) < 1 - 1e-6
    spread = float(((counts - 1) ** 2).mean())  # Binomial(n, 1/n) has variance 1 − 1/n, and a fourth moment near 4
    assert spread == pytest.approx(1 - 1 / n, abs=5 * math.sqrt(3 / (n * m)))
    inside = (counts > 0).double().mean(1)
    q = (1 - 1 / n) ** n
    variance = (q * (1 - q) + (n - 1) * ((1 - 2 / n) ** n - q * q)) / n  # of the share of rows in one bag
    assert float(inside.mean()) == pytest.approx(1 - q, abs=5 * math.sqrt(variance / m))


def test_members_have_seeds_and_rows_of_their_own_and_repeat() -> None:
    rows = torch.arange(50)
    first, again = T.Bagging(4).runs(2, rows), T.Bagging(4).runs(2, rows)
    assert [s for s, _ in first] == [s for s, _ in again]
    assert all(torch.equal(a, b) for (_, a), (_, b) in zip(first, again, strict=True))
    assert first[0][0] == 2 and len({s for s, _ in first}) == 4
    assert len({tuple(r.tolist()) for _, r in first}) == 4
    assert not torch.equal(first[1][1], T.Bagging(4).runs(3, rows)[1][1])


def test_it_votes_unless_told_otherwise() -> None:
    p = torch.tensor([[[0.9, 0.1]], [[0.4, 0.6]], [[0.45, 0.55]]])
    torch.testing.assert_close(T.Bagging(3).combine(p), torch.tensor([[1.5 / 4, 2.5 / 4]]))
    torch.testing.assert_close(T.Bagging(3, mean="arithmetic").combine(p), p.mean(0))
    with pytest.raises(EquipoiseError, match="is for classify"):
        resolve(Recipe(T.Bagging()), "regress")
    resolve(Recipe(T.Bagging(mean="arithmetic")), "regress")
    with pytest.raises(EquipoiseError, match="members is a whole number from 1"):
        T.Bagging(0)
