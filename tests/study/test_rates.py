"""The cross-fitted choice of a learning rate against an explicit regression, and effects at every rate."""

from __future__ import annotations

import numpy as np
import pytest

from equipoise.errors import EquipoiseError
from equipoise.stats import interval
from equipoise.study.design import Factor, make_design
from equipoise.study.rates import at_rate, best, by_rate, cross_fitted

DESIGN = make_design([Factor(x, ("none", x)) for x in "ABCDEFG"], seed=3)
LADDER = (0.25, 1.0, 4.0)


def regression(loss: np.ndarray, rates: tuple[float, ...]) -> np.ndarray:
    """Fitted losses (N, L) of a dummy per arm, r and r², and every technique times r and r², by least squares."""
    import statsmodels.api as sm

    r = np.log(rates)
    arm, rate = (i.ravel() for i in np.indices(loss.shape))
    x = np.where(DESIGN.matrix > 0, 1.0, -1.0)[arm]
    powers = [r[rate] ** p for p in range(1, min(len(rates), 3))]
    columns = [arm == c for c in range(len(loss))] + powers + [x[:, k] * p for k in range(x.shape[1]) for p in powers]
    return sm.OLS(loss.ravel(), np.column_stack(columns).astype(float)).fit().fittedvalues.reshape(loss.shape)


@pytest.mark.parametrize("rates", [(0.5, 2.0), LADDER, (0.1, 0.5, 1.0, 2.0, 8.0)])
def test_choice_is_that_of_the_regression_on_the_other_seeds(rates: tuple[float, ...]) -> None:
    rng = np.random.default_rng(0)
    stop = rng.normal(1.0, 0.3, (16, len(rates), 4))
    chosen = cross_fitted(DESIGN, stop, rates)
    for s in range(4):
        others = np.delete(stop, s, axis=2).mean(2)
        np.testing.assert_array_equal(chosen[:, s], regression(others, rates).argmin(1))
    np.testing.assert_array_equal(best(DESIGN, stop, rates, DESIGN.matrix), regression(stop.mean(2), rates).argmin(1))
    assert len(np.unique(chosen)) == len(rates)


def test_a_seed_has_no_say_in_its_own_rate() -> None:
    rng = np.random.default_rng(1)
    stop = rng.normal(size=(16, 3, 3))
    changed = stop.copy()
    changed[:, :, 1] = rng.normal(size=(16, 3)) * 10
    a, b = cross_fitted(DESIGN, stop, LADDER), cross_fitted(DESIGN, changed, LADDER)
    np.testing.assert_array_equal(a[:, 1], b[:, 1])
    assert (a[:, [0, 2]] != b[:, [0, 2]]).any()


def test_a_technique_that_bears_a_higher_rate_gets_it() -> None:
    """Without A the highest rate diverges; with A it is best: also for a combination that was never run."""
    levels = np.array([[a, 1, 1, 1, 1, 1, 1] for a in (0, 1)])
    loss = np.where(DESIGN.matrix[:, :1] == 1, [0.3, 0.2, 0.1], [0.2, 0.1, 2.3])
    stop = loss[..., None] + np.random.default_rng(2).normal(0, 0.01, (16, 3, 3))
    np.testing.assert_array_equal(
        cross_fitted(DESIGN, stop, LADDER), np.where(DESIGN.matrix[:, :1] == 1, 2, 1) * [1, 1, 1]
    )
    assert best(DESIGN, stop, LADDER, levels).tolist() == [1, 2]


def test_scores_at_the_chosen_rate() -> None:
    rng = np.random.default_rng(3)
    y, chosen = rng.normal(size=(2, 16, 3, 4, 5)), rng.integers(0, 3, (2, 16, 4))
    got = at_rate(y, chosen)
    assert got.shape == (2, 16, 4, 5)
    assert (got[1, 7, 2] == y[1, 7, chosen[1, 7, 2], 2]).all()
    np.testing.assert_array_equal(at_rate(y[0], chosen[0]), got[0])
    np.testing.assert_array_equal(at_rate(y[..., 0], chosen), got[..., 0])


def test_studies_broadcast() -> None:
    stop = np.random.default_rng(4).normal(size=(5, 16, 3, 3))
    np.testing.assert_array_equal(cross_fitted(DESIGN, stop, LADDER)[2], cross_fitted(DESIGN, stop[2], LADDER))


def test_pays_only_at_the_highest_rate() -> None:
    rng = np.random.default_rng(5)
    on = DESIGN.matrix[:, 0] == 1
    y = rng.normal(1.0, 0.02, (16, 3, 3, 40))
    y[on, 2] -= 0.2
    y[on, 0] += 0.1
    row = by_rate(DESIGN, y, LADDER, "lower")[0]
    for k in range(3):
        alone = interval(y[:, k], DESIGN.weights)
        assert (row.effect[k], row.low[k], row.high[k]) == pytest.approx((alone.effect[0], alone.low[0], alone.high[0]))
    assert row.change == pytest.approx(row.effect[2] - row.effect[0])
    assert row.change_low < -0.3 < row.change_high and row.change_p < 1e-6
    assert row.note == "pays only at ×4; costs only at ×0.25"
    assert by_rate(DESIGN, y, LADDER, "higher")[0].note == "pays only at ×0.25; costs only at ×4"


def test_what_rounding_leaves_is_no_effect() -> None:
    """A technique that changes nothing, bit for bit at ×1 and but for rounding at the other rates, pays nowhere."""
    rng = np.random.default_rng(6)
    small = make_design([Factor(x, ("none", x)) for x in "AB"], seed=3)
    y = rng.normal(1.0, 0.3, (1, 3, 3, 40)) + 0.4 * small.matrix[:, 1, None, None, None]
    y[small.matrix[:, 0] == 1, 0] -= 1e-9 + rng.normal(0, 1e-11, (3, 40))
    y[small.matrix[:, 0] == 1, 2] += 1e-9 + rng.normal(0, 1e-11, (3, 40))
    row = by_rate(small, y, LADDER, "lower", smallest=0.0)[0]
    assert row.high[0] < 0 < row.low[2], "the plan of this test: intervals that leave zero out"
    assert (row.effect[1], row.low[1], row.high[1]) == (0.0, 0.0, 0.0)
    assert row.note == "no effect beyond rounding at ×0.25, ×1, ×4"
    still = by_rate(small, np.repeat(y[:, 1:2], 3, axis=1), LADDER, "lower")[0]
    assert still.change == 0.0 and np.isnan(still.change_p)


def test_a_rate_at_which_nothing_learns_is_told_as_that() -> None:
    y = np.random.default_rng(8).normal(1.0, 0.1, (16, 3, 3, 40))
    y[:, 0] = 2.3
    fallback = np.zeros((16, 3, 3), dtype=bool)
    fallback[:, 0] = True
    assert by_rate(DESIGN, y, LADDER, "lower", 0.5, fallback)[0].note == "no run learned anything at ×0.25"
    fallback[0, 0, 0] = False
    assert by_rate(DESIGN, y, LADDER, "lower", 0.5, fallback)[0].note == "no effect beyond rounding at ×0.25"


def test_effects_that_do_not_matter_are_not_said_to_pay() -> None:
    rng = np.random.default_rng(7)
    y = rng.normal(1.0, 0.001, (16, 3, 3, 40))
    y[DESIGN.matrix[:, 0] == 1, 2] -= 0.01
    assert by_rate(DESIGN, y, LADDER, "lower", smallest=0.005)[0].note == "pays only at ×4"
    assert by_rate(DESIGN, y, LADDER, "lower", smallest=0.02)[0].note == ""


def test_refusals() -> None:
    with pytest.raises(EquipoiseError, match="at least 2"):
        cross_fitted(DESIGN, np.ones((16, 3, 1)), LADDER)
    with pytest.raises(EquipoiseError, match="finite"):
        cross_fitted(DESIGN, np.full((16, 3, 2), np.nan), LADDER)
    with pytest.raises(EquipoiseError, match="stop losses"):
        cross_fitted(DESIGN, np.ones((16, 2, 2)), LADDER)
