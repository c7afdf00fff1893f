"""What rows tell of each other's targets: leaving out by the formula and by hand, relabelling by hand and by chance,
and targets that were moved."""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from scipy import stats
from torch import Tensor

from equipoise.probes._told import DRAWS, Told, _squares, chance, left_out, strata, told
from equipoise.probes.wrong_targets import WrongTargets


def line(rows: int, seed: int, wrong: float = 0.0, noise: float = 0.1) -> tuple[Tensor, Tensor]:
    """Two inputs, a target that is a smooth function of them and some noise; a share of the targets drawn anew."""
    g = torch.Generator().manual_seed(seed)
    x = torch.randn(rows, 2, generator=g, dtype=torch.float64)
    y = torch.sin(x[:, :1]) + 0.5 * x[:, 1:] + noise * torch.randn(rows, 1, generator=g, dtype=torch.float64)
    some = torch.rand(rows, generator=g) < wrong
    y[some] = y[some][torch.randperm(int(some.sum()), generator=g)]
    return x, y


def made(excess: list[float], fit: int, stratum: list[int] | None = None, agreement: list[float] | None = None) -> Told:
    """Rows of that excess; with ``agreement`` (then excess is not as given) rows of size 1."""
    v = torch.tensor(excess, dtype=torch.float64)
    c = torch.zeros_like(v) if agreement is None else torch.tensor(agreement, dtype=torch.float64)
    return Told(c, v if agreement is None else torch.ones_like(v), v, torch.tensor(stratum or [0] * len(v)), fit)


# --- rows left out ----------------------------------------------------------------------------------------------------
def test_two_rows_by_hand():
    """K = [[1, e⁻¹], [e⁻¹, 1]] and targets ∓½: the other row tells ±½·e⁻¹/(1 + λ), which errs least with the largest λ,
    1000: errors (½ + ½·e⁻¹/1001)², which is ½·e⁻¹/1001 and its square over the mean's, of a variance of ¼."""
    x, y = torch.tensor([[0.0], [1.0]]).double(), torch.tensor([[0.0], [1.0]]).double()
    t, f = told((x[:1], y[:1]), (x[1:], y[1:])), 0.5 * math.exp(-1) / 1001
    assert left_out(_squares(x), y - 0.5).flatten().tolist() == pytest.approx([f, -f], rel=1e-9)
    assert t.error.tolist() == pytest.approx([4 * (0.5 + f) ** 2] * 2, rel=1e-9)
    assert t.excess.tolist() == pytest.approx([4 * (f + f * f)] * 2, rel=1e-9)
    assert t.agreement.tolist() == pytest.approx([-2 * f] * 2, rel=1e-9)


def test_leaving_out_is_leaving_out():
    """The closed form equals n regressions without a row, about the mean of all rows."""
    x, y = line(30, 0)
    y = y - y.mean(0)
    squares = _squares(x)
    k = torch.exp(-squares / squares[squares > 0].median())

    def without(penalty: float) -> Tensor:
        out = []
        for i in range(30):
            rest = [j for j in range(30) if j != i]
            a = torch.linalg.solve(k[rest][:, rest] + penalty * torch.eye(29, dtype=torch.float64), y[rest])
            out.append(k[i, rest] @ a)
        return torch.stack(out)

    penalties = torch.logspace(-3, 3, 13, dtype=torch.float64).tolist()
    best = min(map(without, penalties), key=lambda f: float((f - y).square().sum()))
    assert torch.allclose(left_out(squares, y), best, rtol=1e-6)


def test_names_are_compared_place_by_place():
    assert _squares(torch.tensor([[1, 2, 3], [1, 2, 4], [9, 9, 9]])).tolist() == [[0, 1, 3], [1, 0, 3], [3, 3, 0]]


def test_what_does_not_vary_tells_nothing():
    """Constant columns and missing numbers are no distance; with equal inputs the mean is told."""
    y = torch.tensor([[0.0], [1.0], [2.0], [1.0]]).double()
    t = told((torch.ones(4, 2), y), (torch.full((4, 2), float("nan")), y))
    assert bool(torch.stack([t.excess, t.agreement, t.error]).isfinite().all())


def test_strata_are_classes_or_bins_that_hold_equal_targets():
    assert strata(torch.eye(3)[[2, 0, 2]]).tolist() == [2, 0, 2]
    y = torch.cat([torch.zeros(50), torch.arange(50)]).double()[:, None]
    found = strata(y)
    assert len(set(found[:51].tolist())) == 1  # half of the targets are 0
    assert sorted(set(found.tolist())) == [2, 3, 4]  # five bins of 100 rows, the first two edges at 0


# --- relabelling ------------------------------------------------------------------------------------------------------
def test_relabelling_by_hand():
    """Of six ways to call two of four rows fit one has a sum of 5. With two strata there are four, with sums 4, 3, 3,
    2: mean 3, variance ½. What is equal everywhere is as likely as can be."""
    error = 6 * (0.25 / DRAWS) ** 0.5  # six standard errors of a share
    assert chance(made([3, 2, 1, 0], 2))[0] == pytest.approx(1 / 6, abs=error)
    p, z = chance(made([3, 1, 2, 0], 2, [0, 1, 0, 1]))
    assert p == pytest.approx(1 / 4, abs=error)
    assert z == pytest.approx(2**0.5, abs=0.05)
    assert chance(made([1, 1, 1, 1], 2))[0] == 1.0
    assert chance(made([5, 0, 0], 1, [0, 1, 1]))[0] == 1.0  # a stratum with no row in stop compares nothing


def test_the_share_by_hand():
    """Stop's targets have a slope of ¾ on what is told of them; half of fit is right, half drawn anew: ⅜, share ½."""
    assert made([0] * 4, 2, agreement=[0.75, 0.0, 0.5, 1.0]).share_wrong == pytest.approx(0.5)
    assert math.isnan(made([0] * 4, 2, agreement=[0.75, 0.0, -0.5, 0.0]).share_wrong)  # nothing to compare with


@pytest.mark.parametrize("classes", [False, True])
def test_chance_speaks_as_often_as_it_says(classes: bool):
    """400 divisions of 100 rows by chance: p ≤ .05 in 5 % of them, within bounds that chance leaves once in 10⁶ on
    either side. Noise is most of the targets, so the penalty is chosen anew by what the rows happen to be."""
    x, y = line(100, 5, noise=1.0)
    if classes:
        y = torch.nn.functional.one_hot((y[:, 0] > 0.5).long(), 2).double()
    g, small = torch.Generator().manual_seed(6), 0
    for _ in range(400):
        order = torch.randperm(100, generator=g)
        a, b = order[:75], order[75:]
        small += chance(told((x[a], y[a]), (x[b], y[b])))[0] <= 0.05
    assert stats.binom.ppf(1e-6, 400, 0.05) <= small <= stats.binom.isf(1e-6, 400, 0.05)


def test_which_rows_are_called_fit_tells_nothing_of_a_row():
    """The errors of the rows are those of the rows, whatever their labels: what makes the test exact."""
    x, y = line(40, 7)
    one, other = told((x[:30], y[:30]), (x[30:], y[30:])), told((x[30:], y[30:]), (x[:30], y[:30]))
    for name in ("agreement", "size", "error"):
        assert torch.allclose(getattr(one, name), getattr(other, name).roll(30, 0))


# --- the rule ---------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("seed", range(6))
def test_targets_drawn_anew_are_seen_and_counted(seed: int):
    """Two fifths of 400; z is 8 to 12, the rule asks for 3.1; the share's standard error is √(.4·.6/400) = .024."""
    probe, stop = WrongTargets(), line(150, 100 + seed)
    clean, wrong = (told(line(400, 200 + seed, wrong=w), stop) for w in (0.0, 0.4))
    found = probe.judge(probe.measure(trace(wrong)), trace(wrong))
    assert [f.probe for f in found] == ["wrong_targets"] and found[0].value == pytest.approx(1 / (DRAWS + 1))
    assert wrong.share_wrong == pytest.approx(0.4, abs=0.14)
    assert clean.share_wrong == pytest.approx(0.0, abs=0.1)
    assert clean.share > 0.9


def test_the_rule_asks_for_one_in_a_thousand():
    probe = WrongTargets()
    seen = lambda p: probe.judge([probe.number("fit", v, "") for v in (p, 3.0, 0.4, 0.9)], trace(None))  # noqa: E731
    assert seen(0.001) and seen(0.0001) and not seen(0.0011)
    assert probe.measure(trace(None)) == []


def trace(t: Told | None) -> Any:
    return SimpleNamespace(told=t)
