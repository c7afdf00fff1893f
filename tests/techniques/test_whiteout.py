"""Whiteout against noise drawn connection by connection, sums written out, exact quadrature, and a step by hand."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from scipy import stats
from torch import Tensor, nn

from equipoise import techniques as T
from equipoise.data import Data
from equipoise.errors import EquipoiseError

from ..models_of_users import Cnn, Lstm, mlp
from ..noise_support import Noisy, OneStep, Quadrature, assert_moments, at, bound, noise, site

G = torch.Generator().manual_seed(9)
X = torch.randn(5, generator=G, dtype=torch.float64)
W, B = torch.randn(3, 5, generator=G, dtype=torch.float64), torch.randn(3, generator=G, dtype=torch.float64)
PLACE = site(nn.Linear(5, 3))
KINDS = ("additive", "multiplicative")


def connection_variances(w: Tensor, sigma2: float, lam: float, gamma: float) -> Tensor:
    """The paper's variance of the noise e_jk on each connection."""
    return sigma2 * w.abs() ** -gamma + lam


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("sigma2", "lam", "gamma"), [(0.5, 0.5, 1.0), (0.3, 0.0, 0.5), (0.0, 0.8, 1.0), (0.2, 0.1, 1.7)]
)
def test_it_has_the_moments_of_noise_on_every_connection(kind: str, sigma2: float, lam: float, gamma: float):
    n = 20_000
    x = X.expand(n, 5)
    z = bound(T.Whiteout(sigma2, lam, gamma, kind)).affine(x, W, B, at(PLACE, noise()))
    v = connection_variances(W, sigma2, lam, gamma)
    variance = torch.tensor(
        [
            sum(W[k, j] ** 2 * v[k, j] * (X[j] ** 2 if kind == "multiplicative" else 1) for j in range(5))
            for k in range(3)
        ]
    )
    assert_moments(z, W @ X + B, variance)
    e = v.sqrt() * torch.randn(n, 3, 5, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    noisy = x[:, None] + e if kind == "additive" else x[:, None] * (1 + e)
    each = (W * noisy).sum(-1) + B  # the paper's own way
    assert_moments(each, W @ X + B, variance)
    for k in range(3):
        assert stats.ks_2samp(z[:, k].numpy(), each[:, k].numpy()).pvalue > 1e-7
    r = np.corrcoef(z.numpy().T)[np.triu_indices(3, 1)]
    assert np.abs(r).max() < 6.5 / np.sqrt(n), "outputs are independent, as their connections are"


@pytest.mark.parametrize("kind", KINDS)
def test_a_convolution_sums_over_its_connections_and_padding_has_none(kind: str):
    conv = nn.Conv2d(2, 3, 3, stride=2, padding=1).double()
    x = torch.randn(1, 2, 5, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    w = conv.weight.detach()
    v = connection_variances(w, 0.4, 0.2, 1.3)
    clean = F.conv2d(x, w, conv.bias, 2, 1).detach()
    expected = torch.zeros(clean.shape[1:], dtype=torch.float64)
    for k, i, j in itertools.product(*map(range, expected.shape)):
        for c, a, b in itertools.product(range(2), range(3), range(3)):
            row, col = 2 * i + a - 1, 2 * j + b - 1
            if 0 <= row < 5 and 0 <= col < 4:
                size = x[0, c, row, col] ** 2 if kind == "multiplicative" else 1.0
                expected[k, i, j] += w[k, c, a, b] ** 2 * v[k, c, a, b] * size
    z = bound(T.Whiteout(0.4, 0.2, 1.3, kind)).affine(
        x.expand(20_000, -1, -1, -1), w, conv.bias, at(site(conv, "conv"), noise())
    )
    assert_moments(z, clean[0], expected)


@pytest.mark.parametrize("gamma", [0.4, 1.0, 1.6])
@pytest.mark.parametrize(("sigma2", "lam"), [(0.7, 0.0), (0.0, 0.7), (0.3, 0.4)])
def test_the_expected_squared_error_is_penalized_by_bridge_lasso_ridge_elastic_net(
    gamma: float, sigma2: float, lam: float
):
    """E ½(z − y)² = ½(wx + b − y)² + ½ Σ_j (σ²|w_j|^(2−γ) + λw_j²): exactly, and so are the gradients."""
    q, y = Quadrature(), 0.3
    w = W[:1].clone().requires_grad_()
    z = bound(T.Whiteout(sigma2, lam, gamma)).affine(X.expand(len(q.nodes), 5), w, None, at(site(nn.Linear(5, 1)), q))
    loss = (q.weights * 0.5 * (z[:, 0] - y) ** 2).sum()
    clean = W[0] @ X
    penalty = 0.5 * (sigma2 * W[0].abs() ** (2 - gamma) + lam * W[0] ** 2).sum()
    torch.testing.assert_close(loss.detach(), 0.5 * (clean - y) ** 2 + penalty, rtol=1e-12, atol=0)
    (grad,) = torch.autograd.grad(loss, w)
    slope = 0.5 * sigma2 * (2 - gamma) * W[0].sign() * W[0].abs() ** (1 - gamma) + lam * W[0]
    torch.testing.assert_close(grad[0], (clean - y) * X + slope, rtol=1e-12, atol=1e-14)
    if gamma == 1 and lam == 0:
        torch.testing.assert_close(slope, 0.5 * sigma2 * W[0].sign())  # the lasso's: the same for every weight
    if sigma2 == 0:
        torch.testing.assert_close(slope, lam * W[0])  # ridge's


@pytest.mark.parametrize("sigma2", [0.5, 0.1, 2.0])
def test_its_strength_in_terms_of_dropout(sigma2: float):
    """At |w| = 1 and λ = σ², multiplicative noise has the variance of dropout at p = 2σ²/(1 + 2σ²), by default ½."""
    p = 2 * sigma2 / (1 + 2 * sigma2)
    q = Quadrature()
    w = torch.tensor([[1.0, -1.0, 1.0, 1.0, -1.0]], dtype=torch.float64)
    x = X.expand(len(q.nodes), 5)
    z = bound(T.Whiteout(sigma2, sigma2, 1.0, "multiplicative")).affine(x, w, None, at(site(nn.Linear(5, 1)), q))
    variance = (q.weights * (z[:, 0] - w[0] @ X) ** 2).sum()
    torch.testing.assert_close(variance, p / (1 - p) * (X**2).sum(), rtol=1e-12, atol=0)
    default = T.Whiteout()
    assert 2 * default.sigma2 / (1 + 2 * default.sigma2) == 0.5 and default.lam == default.sigma2


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_off_is_the_plain_map_bit_for_bit(kind: str, dtype: torch.dtype):
    x, w, b = (v.to(dtype).requires_grad_() for v in (X.expand(40, 5).clone(), W.clone(), B.clone()))
    out, plain = bound(T.Whiteout(0, 0, 1.3, kind)).affine(x, w, b, at(PLACE, noise())), F.linear(x, w, b)
    assert torch.equal(out, plain) and out.dtype == dtype
    for a, b_ in zip(
        torch.autograd.grad(out.sum(), (x, w, b)), torch.autograd.grad(plain.sum(), (x, w, b)), strict=True
    ):
        assert torch.equal(a, b_)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("gamma", [0.5, 1.0, 1.9])
def test_zero_weights_and_zero_inputs_have_finite_gradients(kind: str, gamma: float):
    w = torch.tensor([[0.0, 1.0], [0.0, 0.0]], dtype=torch.float64, requires_grad=True)
    x = torch.tensor([[1.0, 0.0], [0.0, 0.0]], dtype=torch.float64, requires_grad=True)
    z = bound(T.Whiteout(0.5, 0.5, gamma, kind)).affine(x, w, None, at(site(nn.Linear(2, 2)), noise()))
    grads = torch.autograd.grad(z.sum(), (x, w))
    assert z.isfinite().all() and all(g.isfinite().all() for g in grads)
    assert torch.equal(z[:, 1], torch.zeros(2, dtype=torch.float64)), "a map of zeros has nothing to shake"


def test_it_arrives_in_a_training_step(table: Data):
    step = OneStep(mlp, table, T.Whiteout(0.2, 0.1, 1.2, "multiplicative"))

    def forward(p: dict[str, Tensor]) -> Tensor:
        def noisy(h: Tensor, name: str, place: int) -> Tensor:
            w = p[f"{name}.weight"]
            clean = h @ w.T + p[f"{name}.bias"]
            variance = (h**2) @ (0.2 * w.abs() ** 0.8 + 0.1 * w**2).T
            return clean + variance.sqrt() * step.noise(place).normal(tuple(clean.shape), torch.float64)

        h = F.linear(step.standardized, p["0.weight"], p["0.bias"]).relu()
        return noisy(noisy(h, "2", 1).tanh(), "4", 2)

    step.assert_follows(forward)


def test_prediction_uses_w_and_nothing_is_folded():
    x = torch.randn(8, 6)
    net = Noisy(mlp(), x, T.Whiteout())
    plain, notes = net.folded()
    assert notes == [] and torch.equal(plain(x), net(x))
    assert not torch.allclose(net(x, False), net(x), atol=1e-3), "a sample is noisy"


@pytest.mark.parametrize(
    ("build", "shape", "where", "names"),
    [(mlp, (6,), "dense", ["2", "4"]), (mlp, (6,), ["0", "4"], ["0", "4"]), (Cnn, (2, 8, 8), "all", ["c2", "fc"])],
)
def test_where(build: Any, shape: tuple[int, ...], where: Any, names: list[str]):
    net = Noisy(build(), torch.randn(4, *shape), T.Whiteout(where=where))
    assert [s.name for s in net.net.sites if s.affine_by] == names


@pytest.mark.parametrize("gamma", [0.0, 2.0])
def test_the_power_is_open(gamma: float):
    with pytest.raises(EquipoiseError, match=r"gamma must lie in \(0, 2\)"):
        T.Whiteout(gamma=gamma)


def test_a_recurrent_map_is_refused():
    with pytest.raises(EquipoiseError, match="rnn is recurrent"):
        Noisy(Lstm(), torch.randn(4, 5, 4), T.Whiteout(where="rnn"))
