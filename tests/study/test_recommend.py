"""The recommendation on planted truths, its shrinkage, and the verdict of a confirmation."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from scipy import stats as sps

from equipoise.stats import interval
from equipoise.study.design import Design, Factor, make_design
from equipoise.study.effects import Effects, effects
from equipoise.study.recommend import Confirmation, Recommendation, _why, confirm, recommend, shrunken


def factors(names: str) -> list[Factor]:
    return [Factor(x, ("none", x)) for x in names]


def study(design: Design, mean: np.ndarray, *, smallest: float, metric: str = "loss", noise: float = 0.001) -> tuple:
    y = mean[:, None, None] + np.random.default_rng(0).normal(0, noise, (design.configurations, 3, 40))
    return y, effects(design, {metric: y}, primary=metric, smallest=smallest)


def chosen(design: Design, mean: np.ndarray, **options) -> tuple[Recommendation, Effects]:
    y, found = study(design, mean, **options)
    return recommend(design, y, found), found


class TestRecommend:
    @pytest.mark.parametrize(("metric", "sign"), [("loss", -1.0), ("accuracy", 1.0)])
    def test_takes_what_gains_more_than_delta(self, metric: str, sign: float) -> None:
        design = make_design(factors("ABCDEFG"), seed=1)
        gain = np.array([0.30, 0.05, 0.0, -0.2, 0.12, 0.001, 0.2])
        got, found = chosen(design, 1.0 + sign * design.matrix @ gain, smallest=0.1, metric=metric)
        assert got.levels == (1, 0, 0, 0, 1, 0, 1)
        assert got.gain == pytest.approx(0.62, abs=0.005)
        assert got.predicted == pytest.approx(1.0 + sign * 0.62, abs=0.01)
        assert got.predicted == pytest.approx(found.baseline + sign * got.gain)
        verbs = ("falls", "rises") if metric == "loss" else ("rises", "falls")
        assert got.why[0].startswith("A is in: given the others") and f"{metric} {verbs[0]} by 0.3" in got.why[0]
        assert got.why[3].startswith("D is out") and f"{metric} {verbs[1]} by 0.2" in got.why[3]
        assert "not more than the 0.1 that matters" in got.why[1]

    def test_shrinks_by_the_error_of_the_contrast(self) -> None:
        design = make_design(factors("AB"), seed=1)
        y, found = study(design, 1.0 - 0.3 * design.matrix[:, 0], smallest=0.01, noise=0.5)
        alone = interval(y, design.weights)
        assert recommend(design, y, found).levels[0] == 1
        g, se = -alone.effect[0], alone.se[0]
        want = float(g * (1 - se**2 / g**2))
        part = [float(shrunken(-alone.effect, alone.se)[k]) for k in range(2)]
        assert part[0] == pytest.approx(want)
        assert recommend(design, y, found).gain == pytest.approx(sum(p for p in part if p > 0.01))
        at_the_edge = [effects(design, {"loss": y}, primary="loss", smallest=want * f) for f in (0.999, 1.001)]
        assert [recommend(design, y, e).levels[0] for e in at_the_edge] == [1, 0]

    def test_shrunken(self) -> None:
        np.testing.assert_allclose(
            shrunken(np.array([2.0, 1.0, -2.0, 0.0, 0.0]), np.array([1.0, 2.0, 1.0, 1.0, 0.0])), [1.5, 0, -1.5, 0, 0]
        )

    def test_interaction_makes_two_good_techniques_one(self) -> None:
        """B-5 as losses: each pays alone, together they do worse than either; the fewest that reach the best win."""
        design = make_design(factors("AB"), interactions=[(0, 1)], seed=1)
        a, b = design.matrix.T
        got, _ = chosen(design, 3.0 - (1.0 * a + 1.01 * b - 1.5 * a * b), smallest=0.05)
        assert got.levels == (0, 1)
        assert got.gain == pytest.approx(1.01, abs=0.01)
        assert "A is out" in got.why[0] and "rises by 0.5" in got.why[0]

    def test_pair_that_pays_only_together(self) -> None:
        design = make_design(factors("ABCD"), interactions=[(0, 1)], seed=1)
        a, b = design.matrix[:, 0], design.matrix[:, 1]
        got, _ = chosen(design, 3.0 + 0.2 * a + 0.2 * b - 1.0 * a * b, smallest=0.05)
        assert got.levels == (1, 1, 0, 0)
        assert got.gain == pytest.approx(0.6, abs=0.01)

    def test_tie_goes_to_fewer_techniques(self) -> None:
        """{A, B} gains .60 and {C} .58, which is as good within δ; C beside A or B loses."""
        design = make_design(factors("ABC"), interactions=[(0, 1), (0, 2), (1, 2)], seed=1)
        a, b, c = design.matrix.T
        mean = 3.0 - (0.3 * a + 0.3 * b + 0.58 * c - 0.4 * a * c - 0.4 * b * c)
        got, _ = chosen(design, mean, smallest=0.05)
        assert got.levels == (0, 0, 1)
        got, _ = chosen(design, mean, smallest=0.01)
        assert got.levels == (1, 1, 0)

    def test_gains_below_delta_do_not_add_up(self) -> None:
        """Three techniques that each gain .9·δ: together 2.7·δ, and still none of them enters, declared or not."""
        for pairs in ([], [(0, 1), (1, 2)]):
            design = make_design(factors("ABC"), interactions=pairs, seed=1)
            got, _ = chosen(design, 3.0 - 0.09 * design.matrix.sum(1), smallest=0.1)
            assert got.levels == (0, 0, 0) and got.gain == 0.0

    def test_says_why_a_gain_was_left_out(self) -> None:
        design = make_design(factors("AB"), interactions=[(0, 1)], seed=1)
        y, found = study(design, 3.0 - 0.5 * design.matrix[:, 0], smallest=0.1)
        assert "no combination in which everything pays is better" in _why(design, y, found, [0, 0], 0)

    def test_best_level_of_several(self) -> None:
        design = make_design([Factor("norm", ("none", "batch", "layer", "group")), *factors("ABC")], seed=2)
        value = np.array([0.0, 0.3, 0.45, -0.1])
        got, _ = chosen(design, 2.0 - value[design.matrix[:, 0]] - 0.2 * design.matrix[:, 2], smallest=0.02)
        assert got.levels == (2, 0, 1, 0)
        assert got.why[0].startswith("norm[layer] is in")
        got, _ = chosen(design, 2.0 + design.matrix[:, 0] * 0.1, smallest=0.02)
        assert got.levels == (0, 0, 0, 0)
        assert got.why[0].startswith("norm[batch] is out")

    def test_nothing_enters_on_noise(self) -> None:
        design = make_design(factors("ABCDEFGH"), interactions=[(0, 1), (2, 3)], seed=3)
        got, found = chosen(design, np.ones(16), smallest=0.05, noise=0.01)
        assert got.levels == (0,) * 8 and got.gain == 0.0
        assert got.predicted == found.baseline

    def test_groups_are_searched_whole(self) -> None:
        """The same answer as a search over all combinations at once."""
        design = make_design(factors("ABCDE"), interactions=[(0, 1), (1, 2), (3, 4)], seed=5)
        rng = np.random.default_rng(1)
        for _ in range(5):
            beta = rng.normal(0, 0.3, len(design.weights))
            mean = 3.0 - design.terms(design.matrix)[:, 1:] @ beta
            got, _ = chosen(design, mean, smallest=1e-3)
            everywhere = np.array(list(itertools.product((0, 1), repeat=5)))
            fitted = design.at(everywhere) @ mean
            assert got.levels == tuple(everywhere[fitted.argmin()])


class TestConfirm:
    def test_is_a_paired_t_without_example_error(self) -> None:
        rng = np.random.default_rng(2)
        base = rng.normal(1.0, 0.1, 10)
        better = base - 0.05 + rng.normal(0, 0.02, 10)
        got = confirm(np.repeat(better[:, None], 8, 1), np.repeat(base[:, None], 8, 1), metric="loss", better="lower")
        bounds = sps.ttest_rel(better, base).confidence_interval(0.95)
        assert (got.low, got.high) == pytest.approx((bounds.low, bounds.high))
        assert (got.recommended, got.baseline) == pytest.approx((better.mean(), base.mean()))
        assert got.difference == pytest.approx(got.recommended - got.baseline)
        assert got.confirmed and got.seeds == 10
        assert got.rho > 0.9

    @pytest.mark.parametrize(
        ("shift", "better", "confirmed"),
        [
            (-0.1, "lower", True),
            (0.1, "lower", False),
            (0.1, "higher", True),
            (-0.1, "higher", False),
            (0.0, "lower", False),
        ],
    )
    def test_wholly_on_the_better_side(self, shift: float, better: str, confirmed: bool) -> None:
        rng = np.random.default_rng(3)
        base = rng.normal(1.0, 0.05, (10, 50))
        got = confirm(base + shift + rng.normal(0, 0.05, base.shape), base, metric="loss", better=better)
        assert got.confirmed is confirmed

    def test_identical_recipes_are_not_confirmed(self) -> None:
        base = np.random.default_rng(4).normal(size=(10, 20))
        got = confirm(base, base, metric="loss", better="lower")
        assert (got.difference, got.confirmed) == (0.0, False)
        assert (got.low, got.high) == pytest.approx((0.0, 0.0), abs=1e-15)

    def test_json_has_the_contract_keys(self) -> None:
        got = Confirmation("loss", 1.0, 2.0, -1.0, -1.5, -0.5, 10, True, 0.9)
        keys = "metric recommended baseline difference low high seeds confirmed"
        assert list(got.as_json()) == keys.split()
