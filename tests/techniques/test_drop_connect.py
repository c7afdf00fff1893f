"""DropConnect against exact enumeration, a loop over examples with PyTorch's own maps, and a step computed by hand."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from scipy import stats
from torch import Tensor, nn

from equipoise import techniques as T
from equipoise.data import Data
from equipoise.errors import EquipoiseError
from equipoise.techniques.noise import drop_connect as module

from ..models_of_users import Cnn, Lstm, Shared, mlp
from ..noise_support import Enumerated, Noisy, OneStep, assert_moments, assert_uncorrelated, at, bound, noise, site

G = torch.Generator().manual_seed(4)
X = torch.randn(5, generator=G, dtype=torch.float64)
W, B = torch.randn(2, 5, generator=G, dtype=torch.float64), torch.randn(2, generator=G, dtype=torch.float64)
PLACE = site(nn.Linear(5, 2))


# --- moments ----------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("p", [0.5, 0.2])
@pytest.mark.parametrize("scaling", ["inverted", "at_test"])
def test_moments_over_all_1024_masks_of_ten_connections(p: float, scaling: str):
    t, every = bound(T.DropConnect(p, scaling=scaling)), Enumerated(10)
    mean, variance = every.moments(t.affine(X.expand(1024, 5), W, B, at(PLACE, every)))
    squares = (W**2) @ X**2
    if scaling == "inverted":
        torch.testing.assert_close(mean, W @ X + B, rtol=1e-11, atol=1e-12)
        torch.testing.assert_close(variance, p / (1 - p) * squares, rtol=1e-10, atol=0)
    else:
        torch.testing.assert_close(mean, (1 - p) * W @ X + B, rtol=1e-11, atol=1e-12)
        torch.testing.assert_close(variance, p * (1 - p) * squares, rtol=1e-10, atol=0)
    torch.testing.assert_close(t.affine(X[None], W, B, at(PLACE, None))[0], mean, rtol=1e-11, atol=1e-12)


@pytest.mark.parametrize("scaling", ["inverted", "at_test"])
def test_biases_are_masked_if_asked(scaling: str):
    w, x, p = W[:, :4], X[:4], 0.3
    t, every = bound(T.DropConnect(p, biases=True, scaling=scaling)), Enumerated(10)
    place = site(nn.Linear(4, 2))
    mean, variance = every.moments(t.affine(x.expand(1024, 4), w, B, at(place, every)))
    keep = 1 if scaling == "inverted" else 1 - p
    factor = p / (1 - p) if scaling == "inverted" else p * (1 - p)
    torch.testing.assert_close(mean, keep * (w @ x + B), rtol=1e-11, atol=1e-12)
    torch.testing.assert_close(variance, factor * ((w**2) @ x**2 + B**2), rtol=1e-10, atol=0)
    torch.testing.assert_close(t.affine(x[None], w, B, at(place, None))[0], mean, rtol=1e-11, atol=1e-12)


def test_drawn_masks_have_these_moments_and_are_each_example_s_own():
    z = bound(T.DropConnect(0.4)).affine(X.expand(30_000, 5), W, B, at(PLACE, noise()))
    assert_moments(z, W @ X + B, 0.4 / 0.6 * (W**2) @ X**2)
    assert_uncorrelated(z[1:, 0], z[:-1, 0])
    assert_uncorrelated(z[:, 0], z[:, 1])


# --- against a loop over examples -------------------------------------------------------------------------------------
CASES: list[tuple[nn.Module, tuple[int, ...]]] = [
    (nn.Linear(6, 5), (6,)),
    (nn.Linear(6, 5, bias=False), (3, 6)),
    (nn.Conv1d(2, 3, 3, padding="same"), (2, 7)),
    (nn.Conv2d(4, 6, 3, stride=2, padding=1, groups=2), (4, 6, 5)),
    (nn.Conv2d(2, 3, 3, padding=1, padding_mode="circular"), (2, 5, 5)),
    (nn.Conv3d(2, 3, 2, dilation=2), (2, 4, 4, 4)),
]


def place_of(m: nn.Module) -> Any:
    return site(m, "linear" if isinstance(m, nn.Linear) else "conv")


def with_weights(m: Any, x: Tensor, w: Tensor, b: Tensor | None) -> Tensor:
    """PyTorch's own module with other weights, on one example."""
    given = {"weight": w} | ({} if b is None else {"bias": b})
    return torch.func.functional_call(m, given, (x[None],))[0]


@pytest.mark.parametrize(("m", "shape"), CASES, ids=lambda v: str(v)[:40])
@pytest.mark.parametrize("biases", [False, True])
@pytest.mark.parametrize("part", [1, 1 << 15])
def test_every_example_has_weights_of_its_own(
    m: Any, shape: tuple[int, ...], biases: bool, part: int, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(module, "PART", part * (part > 1) or m.weight[0].numel() * 2)
    m, x = m.double(), torch.randn(7, *shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    p, drawn = 0.3, noise()
    z = bound(T.DropConnect(p, biases=biases)).affine(x, m.weight, m.bias, at(place_of(m), noise()))
    size = len(m.weight) if part > 1 or getattr(m, "groups", 1) > 1 else 2
    masks = torch.cat([drawn.bernoulli((7, *v.shape), 1 - p) for v in m.weight.split(size)], 1)
    own = m.bias / (1 - p) * drawn.bernoulli((7, len(m.bias)), 1 - p) if biases and m.bias is not None else [m.bias] * 7
    loop = torch.stack([with_weights(m, x[i], m.weight * masks[i] / (1 - p), own[i]) for i in range(7)])
    torch.testing.assert_close(z, loop, rtol=1e-12, atol=1e-12)
    g = torch.randn(z.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    torch.testing.assert_close(
        torch.autograd.grad(z, m.weight, g)[0], torch.autograd.grad(loop, m.weight, g)[0], rtol=1e-12, atol=1e-12
    )


def test_per_batch_all_rows_share_one_mask():
    x = torch.randn(9, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    t = bound(T.DropConnect(0.4, per="batch", biases=True))
    drawn = noise()
    mask, own = drawn.bernoulli((2, 5), 0.6, shared=True), drawn.bernoulli((2,), 0.6, shared=True)
    expected = x @ (W * mask / 0.6).T + B * own / 0.6
    torch.testing.assert_close(t.affine(x, W, B, at(PLACE, noise())), expected, rtol=1e-13, atol=1e-13)
    seeds = torch.stack([t.affine(X[None], W, B, at(PLACE, noise(s)))[0] for s in range(500)])
    assert_moments(seeds, W @ X + B, 0.4 / 0.6 * ((W**2) @ X**2 + B**2))


# --- the paper's inference --------------------------------------------------------------------------------------------
@pytest.mark.parametrize("scaling", ["inverted", "at_test"])
@pytest.mark.parametrize("biases", [False, True])
def test_moment_inference_draws_a_gaussian_with_the_masks_moments(scaling: str, biases: bool):
    p, n = 0.5, 20_000
    t = T.DropConnect(p, biases=biases, scaling=scaling, test="moment")
    every = Enumerated(12 if biases else 10)
    masked = bound(t).affine(X.expand(len(every.weights), 5), W, B, at(PLACE, every, training=True))
    mean, variance = every.moments(masked)  # in training: masks
    z = bound(t).affine(X.expand(n, 5), W, B, at(PLACE, noise(), training=False))
    assert_moments(z, mean, variance)
    for k in range(2):
        assert stats.kstest(z[:, k].numpy(), stats.norm(float(mean[k]), float(variance[k]) ** 0.5).cdf).pvalue > 1e-7
    assert_uncorrelated(z[:, 0], z[:, 1])
    # T draws through the activation, averaged, estimate E relu(z), which relu(E z) does not
    m, s = mean.numpy(), variance.sqrt().numpy()
    exact = torch.from_numpy(m * stats.norm.cdf(m / s) + s * stats.norm.pdf(m / s))
    drawn = z.relu()
    assert ((drawn.mean(0) - exact).abs() < 6.5 * drawn.std(0) / math.sqrt(n)).all()
    assert ((exact - mean.relu()).abs() > 0.02).any()
    # in prediction without sampling: the mean
    torch.testing.assert_close(bound(t).affine(X[None], W, B, at(PLACE, None, False))[0], mean, rtol=1e-11, atol=1e-12)


def test_only_samples_of_a_prediction_are_gaussian():
    x = torch.randn(64, 6, generator=torch.Generator().manual_seed(0))
    masks, moments = (Noisy(mlp().requires_grad_(False), x, T.DropConnect(0.5, test=k)) for k in ("mean", "moment"))
    moments.params = masks.params
    assert torch.equal(masks(x, True), moments(x, True)) and torch.equal(masks(x), moments(x))
    assert not torch.allclose(masks(x, False), moments(x, False))


# --- off, gradients, steps --------------------------------------------------------------------------------------------
@pytest.mark.parametrize("per", ["example", "batch"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("scaling", ["inverted", "at_test"])
def test_off_is_the_plain_map_bit_for_bit(per: str, dtype: torch.dtype, scaling: str):
    g = torch.Generator().manual_seed(0)
    for m, shape in ((nn.Linear(33, 17), (33,)), (nn.Conv2d(3, 4, 3), (3, 6, 6))):
        m, x = m.to(dtype), torch.randn(40, *shape, generator=g).to(dtype).requires_grad_()
        for training in (True, False):
            t = bound(T.DropConnect(0, per, True, scaling, "moment"))
            out, plain = t.affine(x, m.weight, m.bias, at(place_of(m), noise(), training)), m(x)
            assert torch.equal(out, plain) and out.dtype == dtype
        leaves, out = (x, m.weight, m.bias), t.affine(x, m.weight, m.bias, at(place_of(m), noise()))
        for a, b in zip(torch.autograd.grad(out.sum(), leaves), torch.autograd.grad(plain.sum(), leaves), strict=True):
            assert torch.equal(a, b)


def test_a_dropped_connection_gets_no_gradient():
    w = W.clone().requires_grad_()
    z = bound(T.DropConnect(0.5)).affine(X[None], w, B, at(PLACE, noise()))
    keep = noise().bernoulli((1, 2, 5), 0.5)[0]
    (grad,) = torch.autograd.grad(z.sum(), w)
    assert torch.equal(grad != 0, keep) and 0 < int(keep.sum()) < 10


def test_it_arrives_in_a_training_step(table: Data):
    step = OneStep(mlp, table, T.DropConnect(0.4))

    def forward(p: Any) -> Tensor:
        def connected(h: Tensor, name: str, place: int) -> Tensor:
            w = p[f"{name}.weight"]
            mask = step.noise(place).bernoulli((len(h), *w.shape), 0.6)
            return torch.stack([w * m / 0.6 @ v for m, v in zip(mask, h, strict=True)]) + p[f"{name}.bias"]

        h = connected(connected(step.standardized, "0", 0).relu(), "2", 1).tanh()
        return F.linear(h, p["4.weight"], p["4.bias"])

    step.assert_follows(forward)


# --- where, and back --------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("build", "shape", "where", "names"),
    [(mlp, (6,), "dense", ["0", "2"]), (mlp, (6,), ["0", "4"], ["0", "4"]), (Cnn, (2, 8, 8), "all", ["c1", "c2"])],
)
def test_where(build: Any, shape: tuple[int, ...], where: Any, names: list[str]):
    net = Noisy(build(), torch.randn(4, *shape), T.DropConnect(where=where))
    assert [s.name for s in net.net.sites if s.affine_by] == names


def test_maps_that_cannot_be_replaced_are_refused():
    with pytest.raises(EquipoiseError, match="rnn is recurrent"):
        Noisy(Lstm(), torch.randn(4, 5, 4), T.DropConnect(where="rnn"))
    with pytest.raises(EquipoiseError, match="both replace the affine map"):
        Noisy(mlp(), torch.randn(4, 6), T.DropConnect(), T.Shakeout())


class TiedBias(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.out = nn.Linear(6, 6), nn.Linear(6, 6), nn.Linear(6, 3)
        self.b.bias = self.a.bias

    def forward(self, x: Tensor) -> Tensor:
        return self.out(self.b(self.a(x).relu()).relu())


@pytest.mark.parametrize("biases", [False, True])
@pytest.mark.parametrize(
    ("build", "shape", "kept"),
    [(mlp, (6,), []), (Cnn, (2, 8, 8), []), (Shared, (6,), ["enc", "dec"]), (TiedBias, (6,), ["a", "b"])],
)
def test_the_expected_scaling_is_folded_exactly(build: Any, shape: tuple[int, ...], kept: list[str], biases: bool):
    x = torch.randn(8, *shape, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    net = Noisy(build().double(), x, T.DropConnect(0.4, biases=biases, scaling="at_test", where="*"))
    plain, notes = net.folded()
    torch.testing.assert_close(plain(x), net(x), rtol=1e-13, atol=1e-13)
    assert not torch.allclose(plain(x), net.net.original(x), atol=1e-3)
    assert len(notes) == (len(kept) if biases or build is not TiedBias else 0)
    inverted = Noisy(build().double(), x, T.DropConnect(0.4, biases=biases, where="*"))
    again, notes = inverted.folded()
    assert notes == [] and torch.equal(again(x), inverted(x)) and torch.equal(again(x), inverted.net.original.eval()(x))
