"""The project's statistics against vectors, statsmodels, scipy's own tests and simulation."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats as sps

from equipoise import stats
from equipoise.errors import EquipoiseError

# Vector B-15: a 2×2 in Yates order (configurations (1), a, b, ab), three seeds, five examples.
B15 = np.array(
    [
        [[5, 6, 4, 7, 8], [6, 6, 5, 7, 7], [4, 6, 4, 8, 8]],
        [[3, 5, 4, 5, 6], [4, 5, 3, 6, 5], [3, 4, 4, 7, 9]],
        [[5, 7, 5, 6, 8], [5, 6, 4, 7, 8], [6, 7, 4, 8, 7]],
        [[4, 5, 4, 6, 6], [3, 6, 4, 5, 7], [4, 5, 3, 7, 6]],
    ],
    dtype=float,
)
FACTOR_A = np.array([-0.5, 0.5, -0.5, 0.5])


def anova_ms(mean: np.ndarray) -> float:
    """Configuration × seed mean square by statsmodels' regression on dummies."""
    import statsmodels.api as sm

    arms, seeds = mean.shape
    c, s = np.indices(mean.shape).reshape(2, -1)
    dummies = [np.ones(mean.size), *[c == k for k in range(1, arms)], *[s == k for k in range(1, seeds)]]
    return float(sm.OLS(mean.ravel(), np.column_stack(dummies).astype(float)).fit().mse_resid)


class TestInterval:
    def test_b15(self) -> None:
        result = stats.interval(B15, FACTOR_A)
        assert result.effect == pytest.approx([-1.2])
        assert anova_ms(B15.mean(-1)) == pytest.approx(0.0611111, abs=5e-8)
        assert result.se_seed**2 == pytest.approx([0.0203704], abs=5e-8)
        assert result.se_example**2 == pytest.approx([0.0261111], abs=5e-8)
        assert result.se_residual**2 == pytest.approx([0.0294444], abs=5e-8)
        assert result.se == pytest.approx([0.1615893], abs=5e-8)
        assert result.df == pytest.approx([4.0])
        assert result.p == pytest.approx([0.001755], abs=5e-7)
        assert result.high - result.effect == pytest.approx([0.448644], abs=5e-7)
        assert result.effect - result.low == pytest.approx([0.448644], abs=5e-7)

    def test_sum_of_parts_has_satterthwaite_df(self) -> None:
        rng = np.random.default_rng(1)
        arms, seeds, n = 4, 3, 40
        y = rng.normal(0, 0.3, (arms, seeds, n)) + rng.normal(0, 0.3, (arms, seeds, 1)) + rng.normal(0, 1, (arms, 1, n))
        got = stats.interval(y, FACTOR_A)
        d = np.array([[sum(FACTOR_A[c] * y[c, s, i] for c in range(arms)) for i in range(n)] for s in range(seeds)])
        pooled = anova_ms(y.mean(-1)) * np.sum(FACTOR_A**2) / seeds
        own = np.var(d.mean(1), ddof=1) / seeds
        assert own < pooled, "the draw must exercise the pooled part"
        b = np.var(d.mean(0), ddof=1) / n
        residual = d - d.mean(1, keepdims=True) - d.mean(0, keepdims=True) + d.mean()
        e = np.sum(residual**2) / ((seeds - 1) * (n - 1)) / (n * seeds)
        se2 = pooled + b - e
        assert se2 > max(pooled, b), "the draw must exercise the sum"
        df = se2**2 / (pooled**2 / ((arms - 1) * (seeds - 1)) + b**2 / (n - 1) + e**2 / ((seeds - 1) * (n - 1)))
        assert got.se == pytest.approx([np.sqrt(se2)])
        assert got.df == pytest.approx([df])
        assert got.p == pytest.approx([2 * sps.t.sf(abs(d.mean()) / np.sqrt(se2), df)])
        assert got.high == pytest.approx([d.mean() + sps.t.ppf(0.975, df) * np.sqrt(se2)])

    def test_own_seed_variance_where_larger(self) -> None:
        wobble = np.array([-3.0, 0.5, 4.0])  # the effect of the factor itself moves with the seed
        y = np.zeros((4, 3, 6)) + (np.sign(FACTOR_A)[:, None] * wobble / 2)[..., None]
        y += np.random.default_rng(2).normal(0, 1e-3, y.shape)
        got = stats.interval(y, FACTOR_A)
        assert got.se_seed**2 == pytest.approx([wobble.var(ddof=1) / 3], rel=1e-2)
        assert got.se_seed**2 > anova_ms(y.mean(-1)) * np.sum(FACTOR_A**2) / 3 * 1.5
        assert got.df == pytest.approx([4.0], abs=1e-3)  # 2(S − 1)

    def test_two_arms_without_example_error_are_a_paired_t(self) -> None:
        rng = np.random.default_rng(3)
        a, b = rng.normal(0, 1, 7), rng.normal(0.5, 1, 7)
        y = np.repeat(np.stack([a, b])[..., None], 5, axis=2)
        got, test = stats.interval(y, [1.0, -1.0]), sps.ttest_rel(a, b)
        assert got.p == pytest.approx([test.pvalue])
        assert got.df == pytest.approx([6.0])
        assert [got.low[0], got.high[0]] == pytest.approx(list(test.confidence_interval(0.95)))

    def test_two_arms_with_identical_seeds_are_a_paired_t_over_examples(self) -> None:
        rng = np.random.default_rng(4)
        a, b = rng.normal(0, 1, 30), rng.normal(0.2, 1, 30)
        y = np.repeat(np.stack([a, b])[:, None], 3, axis=1)
        assert stats.interval(y, [1.0, -1.0]).p == pytest.approx([sps.ttest_rel(a, b).pvalue])

    def test_one_arm_has_its_own_seed_variance(self) -> None:
        x = np.random.default_rng(5).normal(2.0, 1, 6)
        got = stats.interval(np.repeat(x[None, :, None], 4, axis=2), [1.0])
        bounds = sps.ttest_1samp(x, 0).confidence_interval(0.95)
        assert [got.low[0], got.high[0]] == pytest.approx([bounds.low, bounds.high])

    def test_parts_add_up_to_the_variance_of_the_effect(self) -> None:
        """With two arms the seed part is unbiased, so E[seed + B − E] must be the variance simulation finds."""
        rng, studies, seeds, n = np.random.default_rng(6), 20_000, 3, 8
        y = (
            rng.normal(0, 0.5, (studies, 2, seeds, 1))
            + rng.normal(0, 1.0, (studies, 2, 1, n))
            + rng.normal(0, 0.8, (studies, 2, seeds, n))
        )
        got = stats.interval(y, [1.0, -1.0])
        truth = 2 * (0.25 / seeds + 1.0 / n + 0.64 / (n * seeds))
        for estimate in (got.se_seed**2 + got.se_example**2 - got.se_residual**2, got.effect**2):
            error = estimate.std() / np.sqrt(studies)
            assert abs(estimate.mean() - truth) < 5 * error

    def test_studies_broadcast(self) -> None:
        y = np.random.default_rng(7).normal(size=(3, 2, 4, 3, 10))
        w = np.stack([FACTOR_A, [-0.5, -0.5, 0.5, 0.5]])
        all_at_once = stats.interval(y, w)
        assert all_at_once.effect.shape == (3, 2, 2)
        one = stats.interval(y[2, 1], w)
        for field in ("effect", "low", "high_sim", "se", "df", "p"):
            np.testing.assert_allclose(getattr(all_at_once, field)[2, 1], getattr(one, field), rtol=1e-12)

    def test_simultaneous_interval_is_bonferroni(self) -> None:
        got, alone = stats.interval(B15, FACTOR_A, family=7), stats.interval(B15, FACTOR_A, level=1 - 0.05 / 7)
        assert got.low_sim == pytest.approx(alone.low)
        assert got.low_sim < got.low

    def test_arms_without_any_error(self) -> None:
        same = stats.interval(np.ones((4, 3, 5)), FACTOR_A)
        assert (same.effect, same.se, same.p) == (0.0, 0.0, 1.0)
        shifted = stats.interval(np.ones((4, 3, 5)) + np.array([0.0, 1.0, 0.0, 1.0])[:, None, None], FACTOR_A)
        assert (shifted.effect, shifted.low, shifted.high, shifted.p) == (1.0, 1.0, 1.0, 0.0)

    @pytest.mark.parametrize("shape", [(4, 1, 5), (4, 3, 1)])
    def test_refuses_what_has_no_error(self, shape: tuple[int, int, int]) -> None:
        with pytest.raises(EquipoiseError, match="at least 2 seeds and 2 examples"):
            stats.interval(np.zeros(shape), FACTOR_A)


class TestLooks:
    def test_boundaries(self) -> None:
        """O'Brien–Fleming 3.471, 2.454, 2.004 and Pocock 2.289 for three equal looks at .05."""
        obf = [sps.norm.isf(stats.Looks((2, 4, 6), k).level(0.05) / 2) for k in (1, 2, 3)]
        pocock = [sps.norm.isf(stats.Looks((2, 4, 6), k, shape=0.5).level(0.05) / 2) for k in (1, 2, 3)]
        assert obf == pytest.approx([3.471, 2.454, 2.004], abs=5e-4)
        assert pocock == pytest.approx([2.289] * 3, abs=5e-4)

    @pytest.mark.parametrize("shape", [0.0, 0.25, 0.5])
    def test_crossing_against_the_normal_integral(self, shape: float) -> None:
        seeds = (3, 4, 9)  # unequal looks
        t = np.array(seeds) / seeds[-1]
        correlation = np.sqrt(np.minimum.outer(t, t) / np.maximum.outer(t, t))
        bound = np.array([sps.norm.isf(stats.Looks(seeds, k, shape).level(0.05) / 2) for k in (1, 2, 3)])
        inside = sps.multivariate_normal.cdf(bound, cov=correlation, lower_limit=-bound, abseps=1e-7, maxpts=10**6)
        assert 1 - inside == pytest.approx(0.05, abs=1e-5)

    def test_repeated_p_inverts_the_level(self) -> None:
        looks = stats.Looks((3, 6), 1, shape=0.5)
        p = looks.p(np.array([looks.level(0.01), looks.level(0.3), np.nan, 0.0, 1.0]))
        np.testing.assert_allclose(p, [0.01, 0.3, np.nan, 0.0, 1.0], atol=1e-9)
        assert stats.Looks((3,)).level(0.05) == 0.05

    def test_interval_and_p_agree_at_a_look(self) -> None:
        looks = stats.Looks((3, 6, 9), 2)
        got = stats.interval(B15, FACTOR_A, looks=looks)
        p = float(got.p[0])
        touching = stats.interval(B15, FACTOR_A, looks=looks, level=1 - p)
        assert touching.high == pytest.approx([0.0], abs=1e-9)
        assert p > stats.interval(B15, FACTOR_A).p[0]

    def test_three_looks_keep_the_error_rate(self) -> None:
        """A study that stops at the first significant look errs at most α; without widening it errs .107 in z."""
        rng, studies = np.random.default_rng(8), 20_000
        y = rng.normal(size=(studies, 4, 6, 2)).mean(-1, keepdims=True).repeat(2, -1)
        hits, naive = np.zeros(studies, bool), np.zeros(studies, bool)
        for k, s in enumerate((2, 4, 6), 1):
            plain = stats.interval(y[:, :, :s], FACTOR_A)
            hits |= plain.p[:, 0] <= stats.Looks((2, 4, 6), k).level(0.05)
            naive |= plain.p[:, 0] <= 0.05
        assert hits.mean() < 0.05 + 5 * np.sqrt(0.05 * 0.95 / studies)
        assert naive.mean() > 0.06

    @pytest.mark.parametrize(("seeds", "now"), [((), 1), ((3, 3), 1), ((6, 3), 1), ((3, 6), 3), ((3, 6), 0)])
    def test_refuses_looks_that_are_none(self, seeds: tuple[int, ...], now: int) -> None:
        with pytest.raises(EquipoiseError, match="look"):
            stats.Looks(seeds, now)


class TestAdjust:
    def test_b11(self) -> None:
        p = (0.01, 0.04, 0.03, 0.005)
        np.testing.assert_allclose(stats.adjust(p), (0.03, 0.06, 0.06, 0.02))
        np.testing.assert_allclose(stats.adjust(p, "bh"), (0.02, 0.04, 0.04, 0.02))

    @pytest.mark.parametrize(("method", "count"), [("bonferroni", 3), ("holm", 3), ("hochberg", 3), ("bh", 4)])
    def test_b12(self, method: str, count: int) -> None:
        p = ".0001 .0004 .0019 .0095 .0201 .0278 .0298 .0344 .0459 .3240 .4262 .5719 .6528 .7590 1"
        assert (stats.adjust([float(v) for v in p.split()], method) <= 0.05).sum() == count

    def test_nan_counts_but_is_not_rejected(self) -> None:
        np.testing.assert_allclose(stats.adjust([0.01, np.nan, 0.03]), [0.03, np.nan, 0.06])

    @pytest.mark.parametrize(
        ("method", "theirs"),
        [("bonferroni", "bonferroni"), ("holm", "holm"), ("hochberg", "simes-hochberg"), ("bh", "fdr_bh")],
    )
    def test_against_statsmodels(self, method: str, theirs: str) -> None:
        from statsmodels.stats.multitest import multipletests

        for seed, size in enumerate((1, 2, 7, 12)):
            p = np.random.default_rng(seed).beta(0.4, 1.0, size)
            p[size // 2] = p[0]  # a tie
            np.testing.assert_allclose(stats.adjust(p, method), multipletests(p, method=theirs)[1])

    def test_rows_are_families(self) -> None:
        p = np.array([[0.01, 0.04, 0.03, 0.005], [0.5, 0.01, 0.02, 0.9]])
        np.testing.assert_allclose(stats.adjust(p)[1], stats.adjust(p[1]))


def test_b10_paired() -> None:
    a, b = (0.912, 0.905, 0.921, 0.899, 0.915), (0.905, 0.900, 0.913, 0.896, 0.906)
    got = stats.paired_t(a, b)
    assert got.mean == pytest.approx(0.0064)
    assert got.sd == pytest.approx(0.0024083, abs=5e-8)
    assert got.t == pytest.approx(5.94225, abs=5e-6)
    assert got.p == pytest.approx(0.0040225, abs=5e-8)
    assert (got.low, got.high) == pytest.approx((0.0034097, 0.0093903), abs=5e-8)
    assert got.rho == pytest.approx(0.98931, abs=5e-6)
    assert sps.ttest_ind(a, b).pvalue == pytest.approx(0.21932, abs=5e-6)  # what pairing buys
    assert stats.sign_flip_p(np.subtract(a, b)) == pytest.approx(0.0625)


def test_b2_lenth() -> None:
    effects = (21.625, 3.125, 9.875, 14.625, 0.125, -18.125, 16.625, 2.375)
    effects += (-0.375, -1.125, 1.875, 4.125, -1.625, -2.625, 1.375)
    got = stats.lenth(effects)
    assert (got.s0, got.pse) == pytest.approx((3.9375, 2.625))
    assert (got.me, got.sme) == pytest.approx((6.747777, 13.698960), abs=5e-7)


def test_b14_rliable() -> None:
    assert stats.interquartile_mean(range(1, 9)) == pytest.approx(4.5)
    assert stats.probability_of_improvement((0.9, 0.8, 0.85), (0.7, 0.82, 0.78)) == pytest.approx(8 / 9)


def test_published_numbers() -> None:
    assert [stats.noether(g) for g in (0.6, 0.7, 0.75, 0.8, 0.9)] == [181, 46, 29, 21, 12]
    ten = np.array([1.0, -1.0] * 5) * np.sqrt(4e-4 * 9 / 10)  # J = 10, s² = 4e-4
    assert stats.nadeau_bengio(ten, train=900, test=100) == pytest.approx(8.444e-5, rel=1e-4)
    assert stats.wilson(3, 120) == pytest.approx((0.009, 0.071), abs=5e-4)
    assert stats.wilson(46, 53) == pytest.approx((0.75, 0.93), abs=5e-3)
