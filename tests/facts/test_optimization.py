"""What the decks state about optimization, exactly or within standard errors: rates, momentum, noise."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from equipoise import techniques as T
from equipoise.data import Data
from equipoise.gradients import by_autograd
from equipoise.technique import At, Batch, Technique

from ..stepping import cohort_of

DOUBLE = torch.float64


def updated(t: Technique, w: Tensor, grad: Tensor, state: Any, rate: float) -> tuple[Tensor, Any]:
    new, state = t.update({"w": grad}, state, {"w": w}, At(rate=torch.tensor(rate, dtype=DOUBLE)))
    return new["w"], state


def descent(t: Technique, h: Tensor, w: Tensor, steps: int) -> list[Tensor]:
    """The iterates of an optimizer on L = ½ Σ h w²."""
    state, path = t.start({"w": w}, None), [w]
    for _ in range(steps):
        w, state = updated(t, w, h * w, state, t.rate)  # type: ignore[attr-defined]
        path.append(w)
    return path


def spectral_radius(t: Technique, h: float) -> float:
    """The factor per step on L = ½ h w²: the largest eigenvalue of our update, which is linear in (w, v) here."""
    columns = []
    for w, v in ((1.0, 0.0), (0.0, 1.0)):
        state = {"v": {"w": torch.tensor(v, dtype=DOUBLE)}}
        new, state = updated(t, torch.tensor(w, dtype=DOUBLE), torch.tensor(h * w, dtype=DOUBLE), state, t.rate)  # type: ignore[attr-defined]
        columns.append([float(new), float(state["v"]["w"])])
    return float(np.abs(np.linalg.eigvals(np.array(columns).T)).max())


# --- rates of convergence (D0, D1, D2) --------------------------------------------------------------------------------
@pytest.mark.parametrize("kappa", [100.0, 10.0, 2.0])
def test_gradient_descent_converges_at_kappa_minus_one_over_kappa_plus_one(kappa: float) -> None:
    """At its best rate 2/(h₁ + h_n) every step shrinks the error by exactly that factor."""
    h, w = torch.tensor([1.0, kappa], dtype=DOUBLE), torch.tensor([kappa, 1.0], dtype=DOUBLE)
    path = descent(T.SGD(2 / (1 + kappa)), h, w, 30)
    factor = (kappa - 1) / (kappa + 1)
    for a, b in itertools.pairwise(path):
        torch.testing.assert_close(b.abs(), factor * a.abs(), rtol=1e-12, atol=1e-14)
    for rate in (1.9 / (1 + kappa), 2.1 / (1 + kappa)):  # no other rate is as good on both directions
        worse = [descent(T.SGD(rate), h, torch.eye(2, dtype=DOUBLE)[i], 1)[1].abs().max() for i in range(2)]
        assert float(max(worse)) > factor


def test_standardized_features_converge_in_one_step() -> None:
    """Least squares on two features of scales 1 and 100: κ = 10⁴; standardized it is 1, the factor 0."""
    x = torch.tensor(list(itertools.product((-1.0, 1.0), repeat=2)), dtype=DOUBLE)
    y = x @ torch.tensor([0.5, -2.0], dtype=DOUBLE)

    def left(x: Tensor, steps: int) -> float:
        hessian = x.T @ x / len(x)
        extremes = torch.linalg.eigvalsh(hessian)
        t, w = T.SGD(float(2 / (extremes[0] + extremes[-1]))), torch.zeros(2, dtype=DOUBLE)
        for _ in range(steps):
            w, _ = updated(t, w, x.T @ (x @ w - y) / len(x), {}, t.rate)
        return float((x @ w - y).square().mean())

    assert left(x, 1) < 1e-28
    scaled = x * torch.tensor([1.0, 100.0], dtype=DOUBLE)
    assert left(scaled, 100) > 0.2
    entry = T.Standardize()
    assert left(entry.prepare(scaled, entry.fit(scaled, y, None)), 1) < 1e-20  # type: ignore[arg-type]


@pytest.mark.parametrize("kappa", [100.0, 10.0])
def test_heavy_ball_converges_at_root_kappa_minus_one_over_root_kappa_plus_one(kappa: float) -> None:
    """ε = 4/(√h₁ + √h_n)², α = ((√κ − 1)/(√κ + 1))²: the factor is √α in every direction (a double root)."""
    root = math.sqrt(kappa)
    factor = (root - 1) / (root + 1)
    t = T.Momentum(4 / (1 + root) ** 2, factor**2)
    for h in (1.0, 2.0, kappa / 2, kappa):
        assert spectral_radius(t, h) == pytest.approx(factor, abs=1e-6)
    assert factor < (kappa - 1) / (kappa + 1)
    path = descent(t, torch.tensor([1.0, kappa], dtype=DOUBLE), torch.tensor([1.0, 1.0], dtype=DOUBLE), 400)
    measured = float(path[400].norm() / path[200].norm()) ** (1 / 200)
    assert measured == pytest.approx(factor, rel=0.01)


def test_nesterov_overshoots_less() -> None:
    """D3: the same rate and momentum from the same start; how far each passes the minimum, and how often it turns."""
    for h in (1.0, 4.0, 10.0):
        paths = [
            torch.stack(descent(o(0.05, 0.9), torch.tensor(h, dtype=DOUBLE), torch.ones((), dtype=DOUBLE), 300))
            for o in (T.Momentum, T.Nesterov)
        ]
        heavy, ahead = (float(-p.min()) for p in paths)
        assert heavy > ahead > 0
        heavy, ahead = (float((p * p).sum()) for p in paths)
        assert heavy > ahead


# --- noise of the gradient (D2, D3) -----------------------------------------------------------------------------------
CHAINS = 40_000


def chains(t: Technique, h: float, s: float, b: int, steps: int, rates: Any) -> Tensor:
    """The end of many runs on ½ h (w − noise)²: each gradient is h w plus the mean of b draws of N(0, s²)."""
    g = torch.Generator().manual_seed(0)
    w = torch.ones(CHAINS, dtype=DOUBLE)
    for i in range(steps):
        noise = s * torch.randn(b, CHAINS, generator=g, dtype=DOUBLE).mean(0)
        w, _ = updated(t, w, h * w + noise, {}, rates(i))
    return w


@pytest.mark.parametrize(("eta", "b"), [(0.1, 1), (0.5, 1), (0.5, 4)])
def test_sgd_at_a_constant_rate_keeps_its_variance(eta: float, b: int) -> None:
    """η s²/(B h (2 − η h)), within five standard errors of a sample variance, √(2/n)."""
    h, s = 2.0, 3.0
    w = chains(T.SGD(eta), h, s, b, 120, lambda _: eta)
    variance = eta * s**2 / (b * h * (2 - eta * h))
    assert float(w.var()) == pytest.approx(variance, rel=5 * math.sqrt(2 / CHAINS))
    assert abs(float(w.mean())) < 5 * math.sqrt(variance / CHAINS) + (1 - eta * h) ** 120


def test_sgd_at_one_over_t_converges() -> None:
    """InverseTime with c = T at ε = 1/h: the iterate is the mean of all noise so far, of variance s²/(B h² T) → 0."""
    h, s, b = 2.0, 3.0, 2
    for steps in (25, 100):
        t = torch.arange(steps, dtype=DOUBLE)
        rates = T.InverseTime(float(steps)).schedule(t, steps, torch.full((steps,), 1 / h, dtype=DOUBLE)).tolist()
        w = chains(T.SGD(1 / h), h, s, b, steps, rates.__getitem__)
        assert float(w.var()) == pytest.approx(s**2 / (b * h**2 * steps), rel=5 * math.sqrt(2 / CHAINS))


def test_the_gradients_standard_error_falls_as_one_over_root_b(table: Data) -> None:
    """Without replacement × √(1 − B/N): all subsets of N = 8 gradients of a network, exactly (S² with 1/(N − 1))."""
    cohort = cohort_of(
        [[T.SGD(0.1)]],
        table,
        build=lambda: torch.nn.Sequential(torch.nn.Linear(6, 4), torch.nn.Tanh(), torch.nn.Linear(4, 3)),
    )
    p, state, const = cohort.program, cohort.state[0], cohort.const[0]
    rows = table.rows["fit"][:8]

    def gradient(some: list[int]) -> Tensor:
        batch = p.objective.batch(table.x[rows[some]], table.y[rows[some]], torch.ones(len(some)), DOUBLE)  # type: ignore[index]
        loss = by_autograd(
            lambda w: p.objective.loss(w, state["buffers"], batch, p.bind(const.knobs), lambda _: At(), lambda *_: None)
        )
        grads, _ = loss(state["params"])
        return torch.cat([v.flatten() for v in grads.values()])

    each = torch.stack([gradient([i]) for i in range(8)])
    total = each.var(0, correction=1).sum()
    for b in range(1, 9):
        means = torch.stack([gradient(list(c)) for c in itertools.combinations(range(8), b)])
        error = (means - each.mean(0)).square().sum(1).mean()
        torch.testing.assert_close(error, total / b * (1 - b / 8), rtol=1e-9, atol=1e-18)
    g = torch.Generator().manual_seed(3)  # with replacement: 1/√B alone
    for b in (1, 4, 16):
        picks = torch.randint(8, (20_000, b), generator=g)
        means = each[picks].mean(1)
        spread = (means - each.mean(0)).square().sum(1)
        expected = float(each.var(0, correction=0).sum()) / b
        assert float(spread.mean()) == pytest.approx(expected, abs=5 * float(spread.std()) / math.sqrt(20_000))


# --- surfaces (D2) ----------------------------------------------------------------------------------------------------
def surface(t: Technique, label: int, classes: int) -> Any:
    batch = Batch(None, torch.eye(classes, dtype=DOUBLE)[[label]], torch.ones(1, dtype=DOUBLE))
    return lambda z: t.loss(z[None], batch, At())


def test_cross_entropy_is_convex_in_the_logits_and_squared_error_is_not() -> None:
    """All eigenvalues of the Hessian, at 200 random points and at a confident mistake."""
    g = torch.Generator().manual_seed(1)
    points = [*(4 * torch.randn(200, 4, generator=g, dtype=DOUBLE)), torch.tensor([0.0, 6.0, 0.0, 0.0], dtype=DOUBLE)]
    least = {}
    for t in (T.CrossEntropy(), T.SquaredError()):
        f = surface(t, 0, 4)
        hessians = torch.stack([torch.autograd.functional.hessian(f, z) for z in points])  # type: ignore[arg-type]
        least[type(t)] = torch.linalg.eigvalsh(hessians).min(1).values
    assert float(least[T.CrossEntropy].min()) > -1e-15
    assert float(least[T.SquaredError].min()) < -0.05
    assert float(least[T.SquaredError][-1]) < -1e-4


def test_at_a_confident_mistake_its_gradient_stays_one_and_squared_errors_vanishes() -> None:
    """Two classes, the wrong one ahead by m: |∂L/∂z| of cross-entropy → 1, of squared error → 0 as 2e^(−m)."""
    for m in (5.0, 10.0, 20.0):
        z = torch.tensor([0.0, m], dtype=DOUBLE, requires_grad=True)
        slopes = [torch.autograd.grad(surface(t, 0, 2)(z), z)[0].abs() for t in (T.CrossEntropy(), T.SquaredError())]
        p = 1 / (1 + math.exp(m))
        torch.testing.assert_close(slopes[0], torch.full((2,), 1 - p, dtype=DOUBLE))
        torch.testing.assert_close(slopes[1], torch.full((2,), 2 * (1 - p) ** 2 * p, dtype=DOUBLE))


def test_on_two_inputs_and_a_hundred_examples_only_one_surface_is_convex() -> None:
    """D2's picture: a linear classifier of two inputs without bias, over the plane of its two weights."""
    g = torch.Generator().manual_seed(7)
    x = torch.randn(100, 2, generator=g, dtype=DOUBLE)
    y = (x @ torch.tensor([1.0, 0.5], dtype=DOUBLE) + 0.5 * torch.randn(100, generator=g, dtype=DOUBLE) > 0).long()
    batch = Batch(x, torch.eye(2, dtype=DOUBLE)[y], torch.ones(100, dtype=DOUBLE))
    least = {}
    for t in (T.CrossEntropy(), T.SquaredError()):

        def loss(w: Tensor, t: Any = t) -> Tensor:
            z = x @ w
            return t.loss(torch.stack([-z / 2, z / 2], 1), batch, At())

        grid = [torch.tensor([a, b], dtype=DOUBLE) for a in np.linspace(-8, 8, 9) for b in np.linspace(-8, 8, 9)]
        hessians = torch.stack([torch.autograd.functional.hessian(loss, w) for w in grid])  # type: ignore[arg-type]
        least[type(t)] = float(torch.linalg.eigvalsh(hessians).min())
    assert least[T.CrossEntropy] > 0
    assert least[T.SquaredError] < -1e-3
