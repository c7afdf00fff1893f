"""Whiten against scikit-learn's PCA and SciPy's matrix square root; ε, cuts and directions without variance."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.linalg import sqrtm
from sklearn.decomposition import PCA
from torch import Tensor, nn

import equipoise as eq
from equipoise import techniques as T
from equipoise.data import Data
from equipoise.errors import EquipoiseError

from ..preparing import F64, check_predictions_read_prepared_rows, fitted, prepared


def correlated(n: int = 400, width: int = 5) -> Tensor:
    g = torch.Generator().manual_seed(3)
    mix = torch.randn(width, width, dtype=F64, generator=g)
    return torch.randn(n, width, dtype=F64, generator=g) @ mix * 20 + torch.arange(width)


def covariance(x: Tensor) -> Tensor:
    return torch.cov(x.T, correction=0)


@pytest.mark.parametrize("k", [None, 3, 1])
def test_pca_as_scikit_learn_does(k: int | None) -> None:
    x, new = correlated(), correlated(30) * 2 - 7
    reference = PCA(k, whiten=True, svd_solver="full").fit(x.numpy())
    want = reference.transform(new.numpy()) * (400 / 399) ** 0.5  # scikit-learn divides by n − 1
    got = prepared(T.Whiten(0.0, "pca", k), x, new).numpy()
    np.testing.assert_allclose(got * np.sign((got * want).sum(0)), want, rtol=1e-8, atol=1e-8)


def test_zca_multiplies_by_the_inverse_square_root_of_the_covariance() -> None:
    x, new = correlated(), correlated(30) * 2 - 7
    a, b = x.numpy(), new.numpy()
    want = (b - a.mean(0)) @ np.linalg.inv(np.real(sqrtm(np.cov(a.T, bias=True))))
    np.testing.assert_allclose(prepared(T.Whiten(0.0), x, new), want, rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize("kind", ["zca", "pca"])
def test_the_whitened_covariance_is_the_identity(kind: str) -> None:
    got = prepared(T.Whiten(0.0, kind), correlated())
    torch.testing.assert_close(covariance(got), torch.eye(5, dtype=F64), rtol=0, atol=1e-10)


@pytest.mark.parametrize("kind", ["zca", "pca"])
def test_epsilon_leaves_a_variance_of_l_over_l_plus_epsilon_times_the_mean(kind: str) -> None:
    x = correlated()
    spectrum = torch.linalg.eigvalsh(covariance(x))
    got = torch.linalg.eigvalsh(covariance(prepared(T.Whiten(0.3, kind), x)))
    torch.testing.assert_close(got, spectrum / (spectrum + 0.3 * spectrum.mean()))
    in_other_units = prepared(T.Whiten(0.3, kind), 1000 * x)
    torch.testing.assert_close(in_other_units, prepared(T.Whiten(0.3, kind), x))


def test_zca_with_a_cut_keeps_the_shape_and_the_largest_directions() -> None:
    x = correlated()
    got = prepared(T.Whiten(0.0, "zca", 2), x)
    spectrum, vectors = torch.linalg.eigh(covariance(got))
    torch.testing.assert_close(spectrum, torch.tensor([0, 0, 0, 1, 1], dtype=F64), rtol=0, atol=1e-10)
    largest = torch.linalg.eigh(covariance(x))[1][:, -2:]
    torch.testing.assert_close(vectors[:, -2:] @ vectors[:, -2:].T, largest @ largest.T, rtol=0, atol=1e-9)


@pytest.mark.parametrize("kind", ["zca", "pca"])
@pytest.mark.parametrize("epsilon", [0.0, 1e-5])
def test_directions_without_variance_are_cut(kind: str, epsilon: float) -> None:
    """A constant feature and a copy of another: what a new row differs in there has no scale, and must not explode."""
    base = correlated(200, 3)
    x = torch.cat([base, torch.full((200, 1), 7.0, dtype=F64), base[:, :1]], 1)
    new = x[:1].clone()
    new[0, 3] += 50
    got, moved = prepared(T.Whiten(epsilon, kind), x), prepared(T.Whiten(epsilon, kind), x, new)
    torch.testing.assert_close(moved, got[:1], rtol=0, atol=1e-9)
    expected = torch.tensor([0, 0, 1, 1, 1], dtype=F64)
    torch.testing.assert_close(torch.linalg.eigvalsh(covariance(got)), expected, rtol=0, atol=2e-3)


def test_fewer_rows_than_values() -> None:
    got = prepared(T.Whiten(0.0), correlated(4, 10))
    spectrum = torch.linalg.eigvalsh(covariance(got))
    torch.testing.assert_close(spectrum, torch.tensor([0.0] * 7 + [1.0] * 3, dtype=F64), rtol=0, atol=1e-8)


def test_images_are_flattened_and_zca_gives_them_back() -> None:
    x = torch.randint(0, 256, (300, 2, 3, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))
    got = prepared(T.Whiten(0.0), x)
    assert got.shape == x.shape
    torch.testing.assert_close(covariance(got.flatten(1)), torch.eye(18, dtype=F64), rtol=0, atol=1e-10)
    assert prepared(T.Whiten(kind="pca", components=7), x).shape == (300, 7)


def test_sequences_over_rows_and_times() -> None:
    x = correlated(400, 4).view(50, 8, 4)
    got = prepared(T.Whiten(0.0), x)
    torch.testing.assert_close(covariance(got.flatten(0, 1)), torch.eye(4, dtype=F64), rtol=0, atol=1e-10)
    assert prepared(T.Whiten(kind="pca", components=2), x).shape == (50, 8, 2)


def test_pieces_and_signs_make_no_difference(monkeypatch: pytest.MonkeyPatch) -> None:
    from equipoise.techniques.preparation import _numbers

    x = correlated()
    whole = prepared(T.Whiten(kind="pca"), x)
    monkeypatch.setattr(_numbers, "PIECE", 35)
    torch.testing.assert_close(prepared(T.Whiten(kind="pca"), x), whole)
    learned = fitted(T.Whiten(kind="pca"), x)["map0"]
    largest = learned.gather(0, learned.abs().argmax(0, keepdim=True))
    assert (largest > 0).all()


def test_what_it_cannot_do_is_refused() -> None:
    with pytest.raises(EquipoiseError, match="components=0"):
        T.Whiten(components=0)
    with pytest.raises(EquipoiseError, match="holds 5 values"):
        fitted(T.Whiten(components=6), correlated())
    with pytest.raises(EquipoiseError, match="holds 12288 values"):
        fitted(T.Whiten(), torch.zeros(2, 3, 64, 64))
    with pytest.raises(EquipoiseError, match="is for numbers"):
        fitted(T.Whiten(), torch.zeros(4, 3, dtype=torch.int64))


def test_runs_read_whitened_rows(images: Data) -> None:
    check_predictions_read_prepared_rows(T.Whiten(0.01), images)


def test_a_network_of_components_and_two_strengths_in_one_cohort(images: Data) -> None:
    model = nn.Sequential(nn.Linear(5, 3))
    recipes = [eq.Recipe(T.Whiten(e, "pca", 5), T.SGD(0.1)) for e in (0.0, 0.5)]
    runs = eq.train_many(model, recipes, images, seeds=[1, 1], epochs=2)
    assert {r.record.plan["cohort"] for r in runs} == {2}
    for run, recipe in zip(runs, recipes, strict=True):
        alone = eq.train(model, recipe, images, epochs=2, seed=1)
        np.testing.assert_allclose(run.predict(images.x), alone.predict(images.x), atol=1e-5)
    assert np.abs(runs[0].predict(images.x) - runs[1].predict(images.x)).max() > 1e-3
