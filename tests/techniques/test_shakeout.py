"""Shakeout against exact enumeration, the two values of W̃ written out, Dropout at c = 0, and a step by hand."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from equipoise import techniques as T
from equipoise.data import Data
from equipoise.errors import EquipoiseError

from ..models_of_users import Cnn, Lstm, mlp
from ..noise_support import Enumerated, Noisy, OneStep, assert_moments, at, bound, noise, site

G = torch.Generator().manual_seed(4)
X = torch.randn(10, generator=G, dtype=torch.float64)
W, B = torch.randn(3, 10, generator=G, dtype=torch.float64), torch.randn(3, generator=G, dtype=torch.float64)
PLACE = site(nn.Linear(10, 3))


@pytest.mark.parametrize(("tau", "c"), [(0.5, 0.5), (0.2, 1.5), (0.7, 0.0)])
def test_moments_over_all_1024_masks(tau: float, c: float):
    t, every = bound(T.Shakeout(tau, c)), Enumerated(10)
    mean, variance = every.moments(t.affine(X.expand(1024, 10), W, B, at(PLACE, every)))
    torch.testing.assert_close(mean, W @ X + B, rtol=1e-11, atol=1e-12)
    torch.testing.assert_close(variance, tau / (1 - tau) * (W.abs() + c) ** 2 @ X**2, rtol=1e-10, atol=0)
    torch.testing.assert_close(t.affine(X[None], W, B, at(PLACE, None))[0], mean, rtol=1e-11, atol=1e-12)


def test_a_weight_takes_the_two_values_of_the_paper():
    tau, c = 0.3, 0.8
    w = torch.tensor([[1.5], [-0.4], [0.0]], dtype=torch.float64)
    every = Enumerated(1)
    one = torch.ones(2, 1, dtype=torch.float64)
    z = bound(T.Shakeout(tau, c)).affine(one, w, None, at(site(nn.Linear(1, 3)), every))
    dropped, kept = z[~every.outcomes[:, 0]][0], z[every.outcomes[:, 0]][0]
    torch.testing.assert_close(dropped, (-c * w.sign())[:, 0], rtol=1e-14, atol=0)
    torch.testing.assert_close(kept, ((w + c * tau * w.sign()) / (1 - tau))[:, 0], rtol=1e-14, atol=0)
    assert float(every.weights[~every.outcomes[:, 0]]) == pytest.approx(tau, abs=1e-15)


def test_drawn_masks_have_these_moments():
    z = bound(T.Shakeout(0.4, 0.6)).affine(X.expand(30_000, 10), W, B, at(PLACE, noise()))
    assert_moments(z, W @ X + B, 0.4 / 0.6 * (W.abs() + 0.6) ** 2 @ X**2)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_without_c_it_is_dropout_bit_for_bit(dtype: torch.dtype):
    x, w, b = (v.to(dtype).requires_grad_() for v in (X.expand(50, 10).clone(), W.clone(), B.clone()))
    shaken = bound(T.Shakeout(0.35, 0)).affine(x, w, b, at(PLACE, noise()))
    dropped = F.linear(bound(T.Dropout(0.35)).act(x, at(PLACE, noise())), w, b)
    assert torch.equal(shaken, dropped)
    g = torch.randn(50, 3, generator=torch.Generator().manual_seed(0)).to(dtype)
    for a, b_ in zip(
        torch.autograd.grad(shaken, (x, w, b), g), torch.autograd.grad(dropped, (x, w, b), g), strict=True
    ):
        assert torch.equal(a, b_)


@pytest.mark.parametrize("kappa", [1.0, 3.0, 0.0])
def test_the_gradient_of_the_sign_is_that_of_tanh(kappa: float):
    tau, c = 0.5, 0.7
    w = W.clone().requires_grad_()
    z = bound(T.Shakeout(tau, c, kappa)).affine(X[None], w, B, at(PLACE, noise()))
    r = noise().bernoulli((1, 10), 1 - tau)[0] / (1 - tau)
    (grad,) = torch.autograd.grad(z.sum(), w)
    slope = c * kappa * (1 - torch.tanh(kappa * W) ** 2)
    torch.testing.assert_close(grad, r * X + slope * (r - 1) * X, rtol=1e-13, atol=1e-14)
    assert 0 < int((r == 0).sum()) < 10


def test_the_gradient_of_the_input():
    x = X.clone().requires_grad_()
    z = bound(T.Shakeout(0.5, 0.7)).affine(x[None], W, B, at(PLACE, noise()))
    r = noise().bernoulli((1, 10), 0.5)[0] * 2.0
    effective = r * W + 0.7 * W.sign() * (r - 1)
    torch.testing.assert_close(torch.autograd.grad(z.sum(), x)[0], effective.sum(0), rtol=1e-13, atol=1e-14)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_off_is_the_plain_map_bit_for_bit(dtype: torch.dtype):
    x, w, b = (v.to(dtype).requires_grad_() for v in (X.expand(40, 10).clone(), W.clone(), B.clone()))
    out, plain = bound(T.Shakeout(0, 2.0)).affine(x, w, b, at(PLACE, noise())), F.linear(x, w, b)
    assert torch.equal(out, plain) and out.dtype == dtype
    for a, b_ in zip(
        torch.autograd.grad(out.sum(), (x, w, b)), torch.autograd.grad(plain.sum(), (x, w, b)), strict=True
    ):
        assert torch.equal(a, b_)


def test_a_convolution_is_the_sum_over_its_patches():
    conv = nn.Conv2d(3, 4, 3, stride=2, padding=1).double()
    x = torch.randn(5, 3, 6, 7, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    t, c, tau = bound(T.Shakeout(0.5, 0.3)), 0.3, 0.5
    z = t.affine(x, conv.weight, conv.bias, at(site(conv, "conv"), noise()))
    r = noise().bernoulli(tuple(x.shape), 1 - tau).double() / (1 - tau)
    unfold = lambda v: F.unfold(v, 3, padding=1, stride=2)  # noqa: E731
    flat = conv.weight.flatten(1)
    effective = unfold(r)[:, None] * flat[..., None] + c * flat.sign()[..., None] * (unfold(r) - 1)[:, None]
    expected = (effective * unfold(x)[:, None]).sum(2).view(z.shape) + conv.bias.view(1, -1, 1, 1)
    torch.testing.assert_close(z, expected, rtol=1e-12, atol=1e-12)


def test_it_arrives_in_a_training_step(table: Data):
    step = OneStep(mlp, table, T.Shakeout(0.4, 0.3))

    def forward(p: dict[str, Tensor]) -> Tensor:
        def shaken(h: Tensor, name: str, place: int) -> Tensor:
            w = p[f"{name}.weight"]
            r = step.noise(place).bernoulli(tuple(h.shape), 0.6).double() / 0.6
            sign = w.detach().sign() + w.tanh() - w.detach().tanh()
            each = r[:, None] * w + 0.3 * sign * (r[:, None] - 1)  # a weight matrix per example
            return (each @ h[..., None])[..., 0] + p[f"{name}.bias"]

        h = F.linear(step.standardized, p["0.weight"], p["0.bias"]).relu()
        return shaken(shaken(h, "2", 1).tanh(), "4", 2)

    step.assert_follows(forward)


def test_prediction_uses_w_and_nothing_is_folded():
    x = torch.randn(8, 6)
    net = Noisy(mlp(), x, T.Shakeout())
    plain, notes = net.folded()
    assert notes == [] and torch.equal(plain(x), net(x))
    assert not torch.allclose(net(x, False), net(x), atol=1e-3), "a sample is noisy"


@pytest.mark.parametrize(
    ("build", "shape", "where", "names"),
    [(mlp, (6,), "dense", ["2", "4"]), (mlp, (6,), "*", ["0", "2", "4"]), (Cnn, (2, 8, 8), "dense", ["fc"]),
     (Cnn, (2, 8, 8), "all", ["c2", "fc"]), (Lstm, (5, 4), "all", ["fc"])],
)  # fmt: skip
def test_where(build: Any, shape: tuple[int, ...], where: str, names: list[str]):
    net = Noisy(build(), torch.randn(4, *shape), T.Shakeout(where=where))
    assert [s.name for s in net.net.sites if s.affine_by] == names


def test_a_recurrent_map_is_refused():
    with pytest.raises(EquipoiseError, match="rnn is recurrent"):
        Noisy(Lstm(), torch.randn(4, 5, 4), T.Shakeout(where="rnn"))
