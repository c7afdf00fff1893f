"""Bias and variance against vectors C-1 … C-12, closed forms, and simulation."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest

from equipoise.errors import EquipoiseError
from equipoise.stats import interval
from equipoise.study.design import Factor, make_design
from equipoise.study.effects import effects
from equipoise.study.tradeoff import (
    Decomposition,
    bregman_information,
    cross_entropy,
    decompose,
    domingos,
    half_size,
    halves,
    kohavi_wolpert,
    squared,
    trade,
)


def near(sample: np.ndarray, truth: float) -> bool:
    """Whether the mean of independent draws is within 5 standard errors of the truth."""
    return bool(abs(sample.mean() - truth) < 5 * sample.std() / math.sqrt(sample.size))


def numbers(*f: float) -> np.ndarray:
    """Trainings with one prediction each: (M, 1, 1)."""
    return np.array(f, dtype=float)[:, None, None]


def ridge(rng: np.random.Generator, lam: float, trainings: int, draws: int, b: tuple = (1, 1), gram: tuple = (10, 1)):
    """Predictions x0'W X'y at x0 = (1, …, 1) of independent trainings with noise 1, (M, draws, 1), and targets."""
    sg, b = np.array(gram, dtype=float), np.array(b, dtype=float)
    w = 1 / (sg + lam)
    noise = rng.normal(size=(trainings, draws, len(sg))) * np.sqrt(sg)
    return ((w * (sg * b + noise)).sum(-1))[..., None], np.full((draws, 1), b.sum())


class TestSquared:
    def test_c1_c2(self) -> None:
        zero = np.zeros((1, 1))
        for f, bias2, variance in [((1, 3), 3, 2), ((1, 3, 2), 11 / 3, 1)]:
            got = squared(numbers(*f), zero)
            assert (got[0][0], got[1][0]) == pytest.approx((bias2, variance))
            assert got[0][0] + got[1][0] == pytest.approx(np.mean(np.square(f)))  # the mean loss

    def test_pairs(self) -> None:
        """The U-statistics: means over pairs of ½‖f − f'‖² and ⟨f − y, f' − y⟩."""
        rng = np.random.default_rng(0)
        f, y = rng.normal(size=(3, 5, 7, 2)), rng.normal(size=(7, 2))
        bias2, variance = squared(f, y)
        pairs = list(itertools.combinations(range(5), 2))
        v = np.mean([0.5 * np.square(f[:, a] - f[:, b]).sum(-1) for a, b in pairs], axis=0)
        b2 = np.mean([((f[:, a] - y) * (f[:, b] - y)).sum(-1) for a, b in pairs], axis=0)
        np.testing.assert_allclose(variance, v)
        np.testing.assert_allclose(bias2, b2)

    @pytest.mark.parametrize(
        ("lam", "bias2", "variance"), [(0.0, 0.0, 1.1), (1.0, 0.349174, 0.332645), (10.0, 1.985537, 0.033264)]
    )
    def test_c3_ridge(self, lam: float, bias2: float, variance: float) -> None:
        rng = np.random.default_rng(1)
        got = squared(*ridge(rng, lam, 4, 50_000))
        assert near(got[0], bias2) and near(got[1], variance)

    def test_c3b_correction(self) -> None:
        f, y = ridge(np.random.default_rng(2), 1.0, 4, 200_000)
        plug_v, plug_b = f.var(0).mean(), np.square(f.mean(0) - y).mean()
        assert (plug_b, plug_v) == pytest.approx((0.4330, 0.2504), abs=0.004)
        got = squared(f, y)
        assert got[0].mean() == pytest.approx(0.3495, abs=5 * 0.0008)
        assert got[1].mean() == pytest.approx(0.3339, abs=5 * 0.0008)

    @pytest.mark.parametrize(("b", "bias2"), [(1.0, 0.25), (0.2, 0.01)])
    def test_c4_shrinking_a_scalar(self, b: float, bias2: float) -> None:
        got = squared(*ridge(np.random.default_rng(3), 10.0, 2, 50_000, (b,), (10,)))
        assert near(got[0], bias2) and near(got[1], 0.025)

    def test_c10_ensembles_divide_the_variance(self) -> None:
        f, y = ridge(np.random.default_rng(4), 1.0, 8, 50_000)
        ensembles = f.reshape(2, 4, *f.shape[1:]).mean(1)
        got = squared(ensembles, y)
        assert near(got[1], 0.332645 / 4) and near(got[0], 0.349174)

    def test_c11_complementary_halves(self) -> None:
        x = np.random.default_rng(5).normal(1.0, 1.0, (50_000, 2, 10))
        f = 0.7 * x.mean(-1).T[..., None]  # (2 halves, draws, 1)
        got = squared(f, np.ones((50_000, 1)))
        assert near(got[1], 0.049) and near(got[0], 0.09)

    def test_c12_overlap_hides_variance(self) -> None:
        """Trainings on 16 of the same 20 rows differ too little, by the factor 1 − .8: halves must not overlap."""
        rng = np.random.default_rng(6)
        x = rng.normal(size=(4000, 1, 20)).repeat(8, 1)
        f = rng.permuted(x, axis=-1)[..., :16].mean(-1).T[..., None]
        got = squared(f, np.zeros((4000, 1)))[1]
        assert near(got, 0.0125) and near(got / (1 - 0.8), 1 / 16)


class TestCrossEntropy:
    def test_c5(self) -> None:
        p, y = np.array([[[0.9, 0.1]], [[0.5, 0.5]]]), np.array([[1.0, 0.0]])
        plug = bregman_information(np.log(p))[0]
        bias, variance = cross_entropy(p, y)
        assert plug == pytest.approx(0.1115718, abs=5e-8)
        assert bias[0] + variance[0] == pytest.approx(0.3992538, abs=5e-8)
        assert bias[0] + variance[0] - plug == pytest.approx(0.2876821, abs=5e-8)
        assert variance[0] == pytest.approx(2 * plug)  # of two trainings the jackknife doubles

    def test_c6(self) -> None:
        z = np.array([[2.0, 0, 0], [0, 1, 0], [1, 1, -1]])[:, None]
        p = np.exp(z) / np.exp(z).sum(-1, keepdims=True)
        bias, variance = cross_entropy(p, np.array([[1.0, 0, 0]]))
        plug = bregman_information(z)[0]
        assert plug == pytest.approx(0.1667093, abs=5e-8)
        assert 1.5 * plug == pytest.approx(0.2500640, abs=5e-8)
        assert variance[0] == pytest.approx(0.2617234, abs=5e-8)
        assert bias[0] + variance[0] == pytest.approx(0.8498711, abs=5e-8)
        assert bias[0] + variance[0] - plug == pytest.approx(0.6831617, abs=5e-8)

    @pytest.mark.parametrize(("trainings", "expected"), [(2, 0.29966), (4, 0.31088), (8, 0.31256)])
    def test_jackknife_nears_the_truth(self, trainings: int, expected: float) -> None:
        n = 100_000
        z = np.random.default_rng(7).normal(size=(trainings, n, 4))
        z[..., 0] += 1.0
        p = np.exp(z) / np.exp(z).sum(-1, keepdims=True)
        variance = cross_entropy(p, np.eye(4)[np.zeros(n, int)])[1]
        error = math.sqrt(2.0) * variance.std() / math.sqrt(n)  # the expected values are simulated too
        assert abs(variance.mean() - expected) < 5 * error
        assert -0.04 * 0.31199 - 5 * error < variance.mean() - 0.31199 < 5 * error

    def test_a_certain_wrong_class_is_finite(self) -> None:
        p, y = np.array([[[1.0, 0.0]], [[0.5, 0.5]]]), np.array([[0.0, 1.0]])
        bias, variance = cross_entropy(p, y)
        assert np.isfinite(bias).all() and np.isfinite(variance).all()
        assert bias[0] + variance[0] == pytest.approx((87.3365 + math.log(2)) / 2, abs=1e-3)  # the loss metric's floor


class TestZeroOne:
    @staticmethod
    def votes(v: np.ndarray, classes: int) -> np.ndarray:
        """Class probabilities whose largest is the vote."""
        return np.eye(classes)[v] * 0.8 + 0.2 / classes

    def test_c7(self) -> None:
        bias, variance = kohavi_wolpert(self.votes(np.array([[0], [1]]), 2), np.array([[1.0, 0.0]]))
        assert (bias[0], variance[0]) == pytest.approx((0.0, 0.5))

    @pytest.mark.parametrize("trainings", [2, 5])
    def test_c8(self, trainings: int) -> None:
        v = np.random.default_rng(8).choice(3, p=[0.6, 0.3, 0.1], size=(trainings, 100_000))
        bias, variance = kohavi_wolpert(self.votes(v, 3), np.eye(3)[np.zeros(100_000, int)])
        assert near(bias, 0.13) and near(variance, 0.27)
        np.testing.assert_allclose(bias + variance, (v != 0).mean(0), atol=1e-12)

    def test_c9_domingos(self) -> None:
        votes = np.array([1, 1, 0, 1, 0])[:, None]
        for label, bias, error in [(1, 0.0, 0.4), (0, 1.0, 0.6)]:
            b, v = domingos(votes, np.array([label]))
            assert (b[0], v[0]) == (bias, pytest.approx(0.4))
            assert b[0] + (1 - 2 * b[0]) * v[0] == pytest.approx(error)
            assert (votes != label).mean() == pytest.approx(error)


class TestHalves:
    def test_rows(self) -> None:
        order = np.random.default_rng(0).permutation(11)
        one, other = halves(order)
        assert len(one) == len(other) == 5 == half_size(11) and not set(one) & set(other)
        np.testing.assert_array_equal(one, np.sort(order[:5]))

    @pytest.mark.parametrize("seed", range(20))
    def test_groups_stay_whole(self, seed: int) -> None:
        rng = np.random.default_rng(seed)
        groups = rng.integers(0, 15, 100) ** 2 % 23  # of very different sizes
        one, other = halves(rng.permutation(100), groups)
        largest = np.bincount(groups).max()
        assert len(one) == len(other) == half_size(100, groups) == (101 - largest) // 2
        assert not set(groups[one]) & set(groups[other])
        assert (np.diff(one) > 0).all() and (np.diff(other) > 0).all()

    def test_torn_groups_hide_variance(self) -> None:
        """A mean over rows of which ten share a draw: V = σ²·Σw² over the groups of a half, where groups stay whole."""
        rng, groups = np.random.default_rng(12), np.repeat(np.arange(40), 10)
        shared = rng.normal(size=(4000, 40))[:, groups]

        def variance(cut: np.ndarray | None) -> np.ndarray:
            f = [[row[part].mean() for part in halves(rng.permutation(400), cut)] for row in shared]
            return squared(np.array(f).T[..., None], np.zeros((4000, 1)))[1]

        assert half_size(400, groups) == 195
        assert near(variance(groups), (19 * 10**2 + 5**2) / 195**2)
        assert variance(None).mean() < 0.4 * 0.05

    def test_groups_of_one_are_rows(self) -> None:
        order = np.random.default_rng(1).permutation(30)
        for a, b in zip(halves(order), halves(order, np.arange(30)), strict=True):
            assert len(a) == len(b) == 15


def test_decompose_is_the_interval_of_one_arm() -> None:
    rng = np.random.default_rng(9)
    f, y = rng.normal(size=(4, 2, 60, 3)), rng.normal(size=(60, 3))
    got = decompose(f, y)
    bias2, variance = squared(f, y)
    alone = interval(variance[None], [1.0])
    assert got.variance == pytest.approx(variance.mean())
    assert (got.variance_low, got.variance_high) == pytest.approx((alone.low[0], alone.high[0]))
    assert got.bias2 == pytest.approx(bias2.mean())
    assert got.risk == pytest.approx(np.square(f - y).sum(-1).mean())
    assert got.risk == pytest.approx(got.bias2 + got.variance)
    assert isinstance(decompose(np.abs(f), np.eye(3)[[0] * 60], kohavi_wolpert), Decomposition)


class TestTrade:
    """One factor, ridge with the given λ against none, on halves of a training set: the truth is C-3."""

    DESIGN = make_design([Factor("ridge", ("none", "ridge")), Factor("placebo", ("none", "placebo"))], seed=0)
    EXAMPLES = 20_000

    def rows(self, lam: float, effect_at_n: float, metric: str = "rmse") -> dict:
        rng = np.random.default_rng(10)
        f = np.empty((4, 3, 2, self.EXAMPLES, 1))
        for c, split in itertools.product(range(4), range(3)):
            f[c, split], y = ridge(rng, lam * self.DESIGN.matrix[c, 0], 2, self.EXAMPLES)
        scores = rng.normal(1.0, 0.01, (4, 3, 30)) + effect_at_n * self.DESIGN.matrix[:, 0, None, None]
        full = effects(self.DESIGN, {metric: scores}, primary=metric)
        return {row.technique: row for row in trade(self.DESIGN, f, y, effects=full, n=540)}

    @pytest.mark.parametrize(
        ("lam", "effect", "profitable"), [(1.0, -0.1, True), (1.0, 0.1, False), (10.0, -0.1, False)]
    )
    def test_ridge(self, lam: float, effect: float, profitable: bool) -> None:
        """Profitable where the risk falls at n/2 and the effect at n says the same."""
        row = self.rows(lam, effect)["ridge"]
        bias2, variance = {1.0: (0.349174, 0.332645 - 1.1), 10.0: (1.985537, 0.033264 - 1.1)}[lam]
        assert row.bias2_low < bias2 < row.bias2_high and row.bias2_high - row.bias2_low < 0.1
        assert row.variance_low < variance < row.variance_high and row.variance_high - row.variance_low < 0.1
        assert row.risk == pytest.approx(row.bias2 + row.variance)
        assert (row.kind, row.profitable, row.n) == ("variance reducer", profitable, 540)
        assert row.as_json()["class"] == "variance reducer" and "kind" not in row.as_json()

    def test_a_higher_is_better_metric_turns_the_sign(self) -> None:
        assert self.rows(1.0, 0.1, "r2")["ridge"].profitable
        assert not self.rows(1.0, -0.1, "r2")["ridge"].profitable

    def test_a_placebo_is_neither(self) -> None:
        row = self.rows(1.0, -0.1)["placebo"]
        assert (row.kind, row.profitable) == ("neither", False)
        assert row.risk_low < 0 < row.risk_high

    def test_more_splits_more_degrees_of_freedom(self) -> None:
        """The split stands in the seed's place: df (N − 1)(R − 1) where the error is the splits' alone."""
        rng = np.random.default_rng(11)
        f = np.repeat(rng.normal(size=(4, 3, 2, 1, 1)), 5, axis=3)
        full = effects(self.DESIGN, {"rmse": rng.normal(1, 0.1, (4, 3, 9))}, primary="rmse")
        row = trade(self.DESIGN, f, np.zeros((5, 1)), effects=full, n=9)[0]
        alone = interval(squared(f, np.zeros((5, 1)))[1], self.DESIGN.weights)
        assert alone.df[0] in (6.0, 4.0)
        assert (row.variance_low, row.variance_high) == pytest.approx((alone.low[0], alone.high[0]))

    def test_refusals(self) -> None:
        full = effects(self.DESIGN, {"rmse": np.ones((4, 2, 3))}, primary="rmse")
        with pytest.raises(EquipoiseError, match="splits, 2"):
            trade(self.DESIGN, np.zeros((4, 2, 3, 5, 1)), np.zeros((5, 1)), effects=full, n=9)
        with pytest.raises(EquipoiseError, match="trainings ≥ 2"):
            decompose(np.zeros((2, 1, 5, 1)), np.zeros((5, 1)))
        with pytest.raises(EquipoiseError, match="at least 2 seeds"):
            decompose(np.zeros((1, 2, 5, 1)), np.zeros((5, 1)))
