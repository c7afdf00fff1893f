"""What the decks state about dropout, exactly: every mask enumerated, every expectation a finite sum."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from equipoise import techniques as T
from equipoise.technique import section

from ..noise_support import SIGMAS, Enumerated, Noisy, at, bound, noise, site

G = torch.Generator().manual_seed(12)
H = torch.randn(10, generator=G, dtype=torch.float64)
W, B = torch.randn(4, 10, generator=G, dtype=torch.float64), torch.randn(4, generator=G, dtype=torch.float64)
PLACE = site(nn.Linear(10, 4))


def over_all_masks(t: T.Dropout) -> tuple[Enumerated, Tensor]:
    """The 1,024 outcomes of ten units, and the logits W x̃ + b under each."""
    every = Enumerated(10)
    return every, F.linear(bound(t).act(H.expand(1024, 10), at(PLACE, every)), W, B)


@pytest.mark.parametrize("p", [0.5, 0.3])
def test_for_softmax_the_normalized_geometric_mean_is_weight_scaling(p: float):
    """Deck D1: exact average, Monte-Carlo and weight scaling of a layer with 10 units, 2^10 masks."""
    every, logits = over_all_masks(T.Dropout(p, scaling="at_test"))
    scaled = torch.softmax(F.linear(bound(T.Dropout(p, scaling="at_test")).act(H[None], at(PLACE, None)), W, B), -1)[0]
    geometric = every.mean(torch.log_softmax(logits, -1)).exp()
    torch.testing.assert_close(geometric / geometric.sum(), scaled, rtol=1e-12, atol=0)
    arithmetic = every.mean(torch.softmax(logits, -1))
    assert (arithmetic - scaled).abs().max() > 0.01, "the arithmetic mean is another one"
    draws = torch.softmax(
        F.linear(bound(T.Dropout(p, scaling="at_test")).act(H.expand(20_000, 10), at(PLACE, noise())), W, B), -1
    )
    error = (draws.mean(0) - arithmetic).abs() / (draws.std(0) / math.sqrt(len(draws)))
    assert error.max() < SIGMAS, "Monte-Carlo estimates the arithmetic mean"


def test_the_three_scalings_predict_the_same():
    """Decks D1, D2: scaling outputs in the test, scaling outgoing weights, and inverted training with (1 − p)W."""
    p = 0.4
    _, at_test = over_all_masks(T.Dropout(p, scaling="at_test"))
    kept = bound(T.Dropout(p)).act(H.expand(1024, 10), at(PLACE, Enumerated(10)))
    inverted = F.linear(kept, (1 - p) * W, B)
    torch.testing.assert_close(inverted, at_test, rtol=1e-12, atol=1e-12)  # one training function
    outputs = F.linear(bound(T.Dropout(p, scaling="at_test")).act(H[None], at(PLACE, None)), W, B)
    outgoing = F.linear(H[None], (1 - p) * W, B)
    torch.testing.assert_close(outputs, outgoing, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(F.linear(bound(T.Dropout(p)).act(H[None], at(PLACE, None)), (1 - p) * W, B), outgoing)
    net = Noisy(
        nn.Sequential(nn.Linear(3, 10), nn.Linear(10, 4)).double(), H[:6].view(2, 3), T.Dropout(p, scaling="at_test")
    )
    net.params |= {"1.weight": W, "1.bias": B}
    plain, _ = net.folded()
    torch.testing.assert_close(plain.get_submodule("1").weight.data, (1 - p) * W, rtol=1e-15, atol=0)


@pytest.mark.parametrize("scaling", ["inverted", "at_test"])
def test_a_linear_unit_s_mean_output_is_its_test_output(scaling: str):
    """Deck D0: E[output] = test output."""
    t = T.Dropout(0.35, scaling=scaling)
    every, logits = over_all_masks(t)
    tested = F.linear(bound(t).act(H[None], at(PLACE, None)), W, B)[0]
    torch.testing.assert_close(every.mean(logits), tested, rtol=1e-12, atol=1e-12)
    assert (every.mean(logits.relu()) - tested.relu()).abs().max() > 0.01, "and only a linear one's"


def test_a_dropped_unit_s_weights_get_zero_gradient_from_that_example():
    """Decks D0, D1, D2: incoming and outgoing weights, per example; the others average over their own examples."""
    x = torch.randn(6, 3, generator=torch.Generator().manual_seed(0))
    net = Noisy(nn.Sequential(nn.Linear(3, 10), nn.Tanh(), nn.Linear(10, 2)), x, T.Dropout(0.5))
    leaves = [net.params[k].requires_grad_() for k in ("0.weight", "0.bias", "2.weight")]
    out = net(x, True)
    source = net.noise()("Dropout/dense", 1, 0)
    assert source is not None
    keep = source.bernoulli((6, 10), 0.5)
    for i in range(6):
        incoming, bias, outgoing = torch.autograd.grad(out[i].pow(2).sum(), leaves, retain_graph=True)
        assert torch.equal(incoming.abs().sum(1) > 0, keep[i]) and torch.equal(bias != 0, keep[i])
        assert torch.equal(outgoing.abs().sum(0) > 0, keep[i])
    assert keep.any(0).logical_and(~keep.all(0)).any()


@pytest.mark.parametrize("p", [0.5, 0.2])
def test_dropout_on_least_squares_is_ridge(p: float):
    """E‖y − (R ∘ X)w‖² = ‖y − Xw‖² + p/(1 − p) w'diag(X'X)w (Srivastava et al. 2014), and so its minimizer."""
    g = torch.Generator().manual_seed(2)
    x, y = torch.randn(7, 6, generator=g, dtype=torch.float64), torch.randn(7, generator=g, dtype=torch.float64)
    t, gram = bound(T.Dropout(0, p)), x.T @ x
    ridge = p / (1 - p) * gram.diagonal().diag()
    place = site(nn.Linear(6, 1), reads_input=True)

    def expected(w: Tensor) -> Tensor:
        total = torch.zeros((), dtype=torch.float64)
        for xi, yi in zip(x, y, strict=True):  # the examples' masks are independent: each is enumerated by itself
            every = Enumerated(6)
            total = total + every.mean((yi - t.act(xi.expand(64, 6), at(place, every)) @ w) ** 2)
        return total

    for w in (torch.randn(6, generator=g, dtype=torch.float64), torch.linalg.solve(gram + ridge, x.T @ y)):
        exact = ((y - x @ w) ** 2).sum() + w @ ridge @ w
        torch.testing.assert_close(expected(w), exact, rtol=1e-12, atol=0)
    best = torch.linalg.solve(gram + ridge, x.T @ y).requires_grad_()
    (slope,) = torch.autograd.grad(expected(best), best)
    assert slope.abs().max() < 1e-12 * (x.T @ y).abs().max() * 100


@pytest.mark.parametrize("p", [0.5, 0.2])
def test_n_over_1_minus_p_units_keep_n(p: float):
    """Decks D0 to D4: the layer that holds n units on average under dropout, as the technique's page advises."""
    n = 8 if p == 0.2 else 5
    width = round(n / (1 - p))
    assert width == 10
    every = Enumerated(width)
    out = bound(T.Dropout(p)).act(torch.ones(2**width, width, dtype=torch.float64), at(PLACE, every))
    assert float(every.mean((out != 0).double().sum(1))) == pytest.approx(n, rel=1e-12)
    assert "n/(1 − p) units" in section(T.Dropout, "Trade")
