"""GradientNoise against its schedule of variances, a step computed by hand, and the double well of deck D3."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from equipoise import techniques as T
from equipoise.data import Data
from equipoise.objective import acting
from equipoise.rng import Noise
from equipoise.technique import At, Params, Technique, option

from ..models_of_users import mlp
from ..noise_support import SIGMAS, OneStep, assert_moments, assert_uncorrelated, bound, noise

ZEROS: Params = {"w": torch.zeros(200, 300, dtype=torch.float64), "b": torch.zeros(200, dtype=torch.float64)}


def noisy(t: Technique, step: float, grads: Params = ZEROS, drawn: Noise | None = None) -> Params:
    here = At(noise=drawn or noise(int(step)), t=torch.tensor(step, dtype=torch.float64), training=True)
    return bound(t).grads(grads, grads, here)


@pytest.mark.parametrize(("eta", "gamma"), [(0.01, 0.55), (0.3, 0.55), (1.0, 0.0)])
@pytest.mark.parametrize("step", [0, 1, 99])
def test_the_variance_fades_as_neelakantan_s(eta: float, gamma: float, step: int):
    out = noisy(T.GradientNoise(eta, gamma), step)
    variance = eta / (1 + step) ** gamma
    assert_moments(out["w"].flatten()[:, None], torch.zeros(1), torch.tensor([variance]))
    assert_uncorrelated(out["w"][0, :200], out["b"])
    assert_uncorrelated(out["w"], noisy(T.GradientNoise(eta, gamma), step + 1)["w"])


def test_gamma_0_is_constant():
    steady = T.GradientNoise(0.5, 0)
    first, later = (noisy(steady, s, drawn=noise(7)) for s in (0, 1000))
    assert torch.equal(first["w"], later["w"])


def test_it_is_the_same_on_all_ranks():
    """Ranks count their rows from different numbers; the draw does not depend on them."""
    key = noise(3)._key
    ours, theirs = (noisy(T.GradientNoise(), 5, drawn=Noise(key, torch.tensor(r, dtype=torch.int32))) for r in (0, 64))
    assert torch.equal(ours["w"], theirs["w"]) and torch.equal(ours["b"], theirs["b"])


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_off_is_the_gradient_bit_for_bit(dtype: torch.dtype):
    grads = {"w": torch.randn(20, 30, dtype=dtype), "scalar": torch.randn((), dtype=dtype)}
    out = noisy(T.GradientNoise(0), 3, grads)
    assert all(torch.equal(out[k], g) and out[k].dtype == dtype for k, g in grads.items())
    assert all(v.dtype == dtype for v in noisy(T.GradientNoise(0.1), 3, grads).values())


def test_it_arrives_in_a_training_step(table: Data):
    step = OneStep(mlp, table, T.GradientNoise(0.04))
    params = {k: v.detach().clone().requires_grad_() for k, v in step.before.items()}
    h = F.linear(step.standardized, params["0.weight"], params["0.bias"]).relu()
    h = F.linear(h, params["2.weight"], params["2.bias"]).tanh()
    loss = F.cross_entropy(F.linear(h, params["4.weight"], params["4.bias"]), step.now.y)
    grads = torch.autograd.grad(loss, list(params.values()))
    sizes = [g.numel() for g in grads]
    each = step.noise().normal((sum(sizes),), torch.float64).split(sizes)
    for (k, p), g, e in zip(params.items(), grads, each, strict=True):
        expected = p - 0.5 * (g + 0.2 * e.view_as(g))
        torch.testing.assert_close(step.after[k], expected.detach(), rtol=1e-12, atol=1e-12)


class Scaler(Technique):
    """In the place of clipping: what stands in the stage by default."""

    name: str = option("clip")

    def grads(self, grads: Params, params: Params, at: At) -> Params:
        return grads


def test_it_comes_after_clipping():
    assert acting([T.GradientNoise(), Scaler()], "grads") == ["Scaler", "GradientNoise"]


def descend(gradient: Callable[[Tensor], Tensor], t: Technique | None, runs: int, steps: int, rate: float) -> Tensor:
    """Full-batch descent of ``runs`` independent points, all from the shallow well's bottom."""
    x = torch.full((runs,), 0.96, dtype=torch.float64)
    for s in range(steps):
        grads: dict[str, Any] = {"x": gradient(x)}
        x = x - rate * (noisy(t, s, grads, noise(s, "well")) if t else grads)["x"]
    return x


def test_it_leaves_a_shallow_minimum_that_descent_stays_in():
    """f(x) = (x² − 1)² + 0.3x has a deep minimum near −1.04 and a shallow one near 0.96, where plain descent stays.
    With gradient noise more than half of 1,000 points end in the deep one, their mean f below the shallow one's."""
    gradient = lambda x: 4 * x * (x**2 - 1) + 0.3  # noqa: E731
    stays = descend(gradient, None, 1, 1000, 0.02)
    assert float(stays) == pytest.approx(0.96, abs=0.01) and abs(float(gradient(stays))) < 1e-6
    x = descend(gradient, T.GradientNoise(800.0, 0.55), 1000, 1000, 0.02)
    deep = (x < 0).double()
    se = math.sqrt(0.25 / len(x))
    assert float(deep.mean()) - SIGMAS * se > 0.5, float(deep.mean())
    value = lambda x: (x**2 - 1) ** 2 + 0.3 * x  # noqa: E731
    ends = value(x)
    assert float(ends.mean()) + SIGMAS * float(ends.std()) / math.sqrt(len(x)) < float(value(stays))
