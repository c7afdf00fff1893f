"""Metrics against scikit-learn, closed forms, DeLong's definition and the jackknife."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn import metrics as reference

from equipoise.errors import EquipoiseError
from equipoise.metrics import (
    TINY,
    Metric,
    baseline_prediction,
    better,
    metrics_for,
    per_example,
    primary,
    score,
)

RNG = np.random.default_rng(7)
N = 60


def probabilities(*shape: int) -> np.ndarray:
    return RNG.dirichlet(np.ones(shape[-1]), shape[:-1])


def tied_binary(n: int = N) -> tuple[np.ndarray, np.ndarray]:
    """Scores on a coarse grid, so that many are tied, and labels of unequal frequency."""
    y = (RNG.random(n) < 0.3).astype(np.int64)
    y[:2] = 0, 1
    s = np.clip(np.round(0.3 * y + RNG.random(n) * 0.7, 1), 0, 1)
    return np.stack([1 - s, s], -1), y


def test_classification_scores_equal_scikit_learn():
    p, y = probabilities(N, 4), RNG.integers(0, 4, N)
    one_hot = np.eye(4)[y]
    assert score("loss", p, y) == pytest.approx(reference.log_loss(y, p, labels=range(4)), rel=1e-12)
    assert score("accuracy", p, y) == reference.accuracy_score(y, p.argmax(-1))
    assert score("brier", p, y) == pytest.approx(np.square(p - one_hot).sum(1).mean(), rel=1e-12)
    p2, y2 = tied_binary()
    assert score("brier", p2, y2) == pytest.approx(2 * np.mean((p2[:, 1] - y2) ** 2), rel=1e-12)
    assert score("auc", p2, y2) == pytest.approx(reference.roc_auc_score(y2, p2[:, 1]), abs=1e-12)


def test_regression_scores_equal_scikit_learn():
    y = RNG.normal(size=(N, 3)) * [1, 10, 100]
    f = y + RNG.normal(size=(N, 3)) * [0.5, 2, 30]
    assert score("rmse", f, y) == pytest.approx(reference.root_mean_squared_error(y, f), rel=1e-12)
    assert score("mae", f, y) == pytest.approx(reference.mean_absolute_error(y, f), rel=1e-12)
    assert score("r2", f, y) == pytest.approx(reference.r2_score(y, f), rel=1e-12)


@pytest.mark.parametrize("name", ["loss", "accuracy", "brier", "auc", "rmse", "mae", "r2"])
def test_leading_axes_broadcast(name):
    if name in metrics_for("regress", 1):
        y, f = RNG.normal(size=(N, 2)), RNG.normal(size=(3, 2, N, 2))
    else:
        y, f = tied_binary()[1], probabilities(3, 2, N, 2)
    whole = per_example(name, f, y)
    assert whole.shape == (3, 2, N) and whole.dtype == np.float64
    for c in range(3):
        for s in range(2):
            np.testing.assert_allclose(whole[c, s], per_example(name, f[c, s], y), rtol=1e-12)
    np.testing.assert_allclose(score(name, f, y), whole.mean(-1), rtol=1e-12)


def test_rmse_is_linearized_to_first_order():
    """CONTRACT form e²/(2r) + r/2 for one target, and its variance is the delta method's Var(e²)/(4r²n)."""
    y = RNG.normal(size=(N, 1))
    e = RNG.normal(size=(N, 1))
    r = np.sqrt(np.mean(e**2))
    values = per_example("rmse", y + e, y)
    np.testing.assert_allclose(values, e[:, 0] ** 2 / (2 * r) + r / 2, rtol=1e-10)
    assert values.var(ddof=1) / N == pytest.approx(np.var(e**2, ddof=1) / (4 * r**2 * N), rel=1e-10)
    assert score("rmse", y, y) == 0.0


def delong(p: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """V10 and V01 by the definition: every positive against every negative."""
    a, b = p[y == 1, 1][:, None], p[y == 0, 1][None, :]
    psi = (a > b) + 0.5 * (a == b)
    return psi.mean(1), psi.mean(0)


def test_auc_components_are_delongs():
    p, y = tied_binary()
    values, (v10, v01) = per_example("auc", p, y), delong(p, y)
    m, k = (y == 1).sum(), (y == 0).sum()
    area = reference.roc_auc_score(y, p[:, 1])
    assert values.mean() == pytest.approx(area, abs=1e-12)
    assert values.var(ddof=1) / N == pytest.approx(v10.var(ddof=1) / m + v01.var(ddof=1) / k, rel=1e-10)
    c1, c0 = np.sqrt(N * (N - 1) / (m * (m - 1))), np.sqrt(N * (N - 1) / (k * (k - 1)))
    np.testing.assert_allclose(values[y == 1], area + c1 * (v10 - area), atol=1e-12)
    np.testing.assert_allclose(values[y == 0], area + c0 * (v01 - area), atol=1e-12)


def test_auc_component_of_a_positive_is_its_jackknife_pseudovalue():
    p, y = tied_binary()
    m = (y == 1).sum()
    area = reference.roc_auc_score(y, p[:, 1])
    values = per_example("auc", p, y)
    for i in np.flatnonzero(y == 1):
        rest = np.arange(N) != i
        pseudo = m * area - (m - 1) * reference.roc_auc_score(y[rest], p[rest, 1])
        assert values[i] == pytest.approx(area + np.sqrt(N * (N - 1) / (m * (m - 1))) * (pseudo - area), abs=1e-10)


def test_auc_contrast_of_two_models_has_delongs_covariance():
    p, y = tied_binary()
    q = probabilities(N, 2)
    d = per_example("auc", p, y) - per_example("auc", q, y)
    (a10, a01), (b10, b01) = delong(p, y), delong(q, y)
    want = (a10 - b10).var(ddof=1) / (y == 1).sum() + (a01 - b01).var(ddof=1) / (y == 0).sum()
    assert d.var(ddof=1) / N == pytest.approx(want, rel=1e-10)


def test_auc_at_the_edges():
    y = np.array([0, 1, 0, 0])
    flat, right = np.full((4, 2), 0.5), np.eye(2)[y]
    assert score("auc", flat, y) == 0.5
    assert score("auc", right, y) == 1.0  # a single positive has no variance of its own
    assert score("auc", 1 - right, y) == 0.0
    assert np.isnan(score("auc", flat, np.zeros(4, np.int64)))


def test_r2_of_a_constant_target_is_nan():
    assert np.isnan(score("r2", np.zeros((5, 1)), np.ones((5, 1))))


def test_loss_is_finite_where_the_label_got_no_probability():
    p, y = np.array([[1.0, 0.0], [0.25, 0.75]]), np.array([1, 1])
    np.testing.assert_allclose(per_example("loss", p, y), [-np.log(TINY), -np.log(0.75)])
    assert torch.finfo(torch.float32).tiny == TINY


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("name", ["loss", "accuracy", "brier", "auc", "rmse", "mae", "r2"])
def test_a_prediction_that_is_not_finite_never_scores(name, bad):
    if name in metrics_for("regress", 1):
        y, f = RNG.normal(size=(5, 1)), RNG.normal(size=(2, 5, 1))
    else:
        y, f = np.array([0, 1, 0, 1, 1]), probabilities(2, 5, 2)
    f[0, 3, 0] = bad
    values = score(name, f, y)
    assert np.isnan(values[0]) and np.isfinite(values[1])


def test_tensors_of_any_precision_are_taken():
    p, y = tied_binary()
    for dtype, tolerance in ((torch.float64, 1e-12), (torch.float32, 1e-6), (torch.bfloat16, 1e-2)):
        got = score("loss", torch.tensor(p, dtype=dtype).clamp_min(1e-3).requires_grad_(), torch.tensor(y))
        assert got == pytest.approx(score("loss", np.maximum(p, 1e-3), y), rel=tolerance)


def test_names_directions_and_primaries():
    assert metrics_for("classify", 3) == ("loss", "accuracy", "brier")
    assert metrics_for("classify", 2) == ("loss", "accuracy", "brier", "auc")
    assert metrics_for("regress", 2) == ("rmse", "mae", "r2")
    assert primary("classify") == "loss" and primary("regress") == "rmse"
    lower = {m for m in ("loss", "accuracy", "brier", "auc", "rmse", "mae", "r2") if better(m) == "lower"}
    assert lower == {"loss", "brier", "rmse", "mae"}


def test_baseline_is_the_best_constant():
    y = np.array([0, 0, 2, 1, 0])
    prior = baseline_prediction(torch.tensor(y), "classify", 4)
    np.testing.assert_allclose(prior, [0.6, 0.2, 0.2, 0.0])
    t = RNG.normal(size=(N, 2))
    mean = baseline_prediction(torch.tensor(t), "regress", 2)
    assert score("r2", np.broadcast_to(mean, t.shape), t) == pytest.approx(0.0, abs=1e-12)
    np.testing.assert_allclose(baseline_prediction(np.array([0, -1, 1, 0, -1]), "classify", 2), [2 / 3, 1 / 3])
    np.testing.assert_allclose(baseline_prediction(np.array([[1.0, 4], [3, np.nan]]), "regress", 2), [2, 4])


def test_a_metric_of_ones_own():
    worst = Metric("worst", "regress", "lower", lambda f, y: np.abs(f - y).max(-1))
    y = np.array([[0.0, 0.0], [1.0, 1.0]])
    np.testing.assert_allclose(per_example(worst, y + np.array([[1, 3], [0, 0]]), y), [3, 0])
    assert better(worst) == "lower"
    with pytest.raises(EquipoiseError, match="one value per example"):
        per_example(Metric("bad", "regress", "lower", lambda f, y: np.abs(f - y)), y, y)
    with pytest.raises(EquipoiseError, match="'lower' or 'higher'"):
        Metric("bad", "regress", "less", lambda f, y: f[..., 0])


@pytest.mark.parametrize(
    ("name", "prediction", "y", "says"),
    [
        ("acuracy", np.full((2, 2), 0.5), np.array([0, 1]), "Did you mean 'accuracy'"),
        ("loss", np.array([[2.0, -1.0]]), np.array([0]), "softmax"),
        ("loss", np.array([[0.7, 0.7]]), np.array([0]), "softmax"),
        ("loss", np.full((3, 2), 0.5), np.array([0, 1]), "shapes"),
        ("loss", np.float64(0.5), np.array([0, 1]), "shapes"),
        ("loss", np.full((2, 2), 0.5), np.array([0, 2]), "class codes"),
        ("loss", np.full((2, 2), 0.5), np.array([0, -1]), "class codes"),
        ("auc", np.full((2, 4), 0.25), np.array([0, 1]), "two classes"),
        ("rmse", np.zeros((2, 1)), np.zeros(2), "shapes"),
        ("rmse", np.zeros((1, 1)), np.zeros((2, 1)), "shapes"),
    ],
)
def test_bad_input_is_one_line(name, prediction, y, says):
    with pytest.raises(EquipoiseError, match=says) as caught:
        per_example(name, prediction, y)
    assert "\n" not in str(caught.value)
