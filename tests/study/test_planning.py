"""Precision before a study, the pairing correlation, and what would decide an open question."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats as sps

from equipoise.stats import interval
from equipoise.study.planning import Parts, needed, pairing, precision


def half(n: int) -> np.ndarray:
    return np.repeat([2.0 / n, -2.0 / n], n // 2)


@pytest.mark.parametrize(
    ("n", "seeds", "se", "width"),
    [(16, 3, 0.0866, 0.177), (12, 3, 0.100, 0.207), (24, 3, 0.0707, 0.142), (16, 5, 0.0671, 0.134)],
)
def test_published_precision(n: int, seeds: int, se: float, width: float) -> None:
    got = precision(half(n), seeds, 0.3)
    assert (got.se, got.half_width) == (pytest.approx(se, abs=5e-5), pytest.approx(width, abs=5e-4))


def test_minimum_detectable_effect_has_its_power() -> None:
    """By the noncentral t distribution; (t + t)·SE is the usual approximation to it, good to a percent."""
    for family in (1, 7):
        got = precision(half(16), 3, 0.3, family=family)
        critical = sps.t.isf(0.05 / (2 * family), 30)
        assert sps.nct.sf(critical, 30, got.mde / got.se) == pytest.approx(0.80, abs=0.01)


def test_precision_with_examples_is_what_simulation_finds() -> None:
    rng, studies, seeds, n, tau = np.random.default_rng(0), 4000, 3, 50, 0.9
    y = rng.normal(0, 0.3, (studies, 8, seeds, 1)) + half(8)[:, None, None] * 2 * rng.normal(0, tau, (studies, 1, 1, n))
    got = interval(y, half(8))
    expected = precision(half(8), seeds, 0.3, sigma_example=tau, examples=n)
    variance = got.effect[:, 0] ** 2
    assert abs(variance.mean() - expected.se**2) < 5 * variance.std() / np.sqrt(studies)


def test_pairing_of_two_arms_is_their_concordant_correlation() -> None:
    a, b = np.random.default_rng(1).normal(size=(2, 9))
    y = np.repeat(np.stack([a, b])[..., None], 3, axis=2)
    cov = np.cov(a, b)
    assert pairing(y) == pytest.approx(2 * cov[0, 1] / (cov[0, 0] + cov[1, 1]))


def test_pairing_is_what_was_planted() -> None:
    rng = np.random.default_rng(2)
    y = rng.normal(0, 2, (1, 4000)) + rng.normal(0, 1, (6, 4000)) + np.arange(6.0)[:, None]
    assert pairing(y) == pytest.approx(0.8, abs=0.02)  # 4/(4 + 1)
    assert np.isnan(pairing(np.ones((4, 3))))


class TestNeeded:
    def test_as_many_as_it_says_and_no_fewer(self) -> None:
        """Seed error only, arms many: decided by the first S with t_{.95}·SE < δ − |effect|."""
        seeds, examples = needed(0.0, Parts(0.04, 0.0, 0.0, 16, 3, 500), 0.1, 7)
        assert examples is None
        s = np.arange(3, 400)
        inside = sps.t.isf(0.05, 15 * (s - 1)) * np.sqrt(0.04 * 3 / s) < 0.1
        assert seeds == s[inside.argmax()] - 3

    def test_large_effects_need_significance(self) -> None:
        seeds, _ = needed(0.5, Parts(0.04, 0.0, 0.0, 16, 3, 500), 0.1, 7)
        s = np.arange(3, 400)
        significant = sps.t.isf(0.05 / 14, 15 * (s - 1)) * np.sqrt(0.04 * 3 / s) < 0.5
        assert seeds == s[significant.argmax()] - 3

    def test_example_error_is_no_matter_of_seeds(self) -> None:
        seeds, examples = needed(0.0, Parts(1e-6, 0.04, 1e-7, 16, 3, 200), 0.1, 7)
        assert seeds is None
        assert examples is not None
        n = 200 + examples
        assert sps.t.isf(0.05, n - 1) * np.sqrt(0.04 * 200 / n) < 0.1 * 1.001

    def test_residual_error_yields_to_either(self) -> None:
        seeds, examples = needed(0.0, Parts(0.02, 0.02, 0.02, 16, 3, 300), 0.1, 7)
        assert seeds is not None and examples is not None

    def test_on_the_border_nothing_decides(self) -> None:
        assert needed(0.0999999, Parts(0.04, 0.04, 0.0, 16, 3, 200), 0.1, 7) == (None, None)
