"""Vectors A-2 and A-3: factors per layer of linear, ReLU and tanh nets; what a residual block adds.

Bounds: with n units the second moment of a layer varies by at most √(5/n) (ReLU; √(2/n) linear) relative to the one
before, and the slope of a walk of L such steps by √(1.2/L) of one of them; five of these.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from equipoise.probes.activation_profile import gain, rate, second_moment, signal

N, LAYERS = 512, 20


def profile(f: Callable[[Tensor], Tensor], sd: float, *, scale: float = 1.0) -> list[float]:
    g = torch.Generator().manual_seed(1)
    a = scale * torch.randn(64, N, generator=g, dtype=torch.float64)
    q = []
    for _ in range(LAYERS):
        a = f(a @ (sd * torch.randn(N, N, generator=g, dtype=torch.float64)).T)
        q.append(second_moment(a))
    return q


@pytest.mark.parametrize(
    ("f", "sd", "expected", "fourth"),
    [
        (lambda z: z, math.sqrt(0.5 / N), 0.5, 2),
        (torch.relu, math.sqrt(1 / N), 0.5, 5),
        (torch.relu, math.sqrt(2 / N), 1.0, 5),
        (torch.tanh, 0.01, N * 1e-4, 2),
    ],
    ids=["linear", "relu under Xavier", "relu under He", "tanh at .01"],
)
def test_the_factor_per_layer(f: Callable[[Tensor], Tensor], sd: float, expected: float, fourth: int):
    # tanh: a small signal, where it is linear
    found = rate(profile(f, sd, scale=0.01 if f is torch.tanh else 1.0))
    assert abs(math.log(found / expected)) < 5 * math.sqrt(fourth / N) * math.sqrt(1.2 / LAYERS)


def test_the_rate_is_exact_on_a_power():
    assert rate([0.5**k for k in range(6)]) == pytest.approx(0.5, rel=1e-12)


def test_a_residual_block_triples_and_a_zero_branch_leaves_alone():
    g = torch.Generator().manual_seed(2)
    n, found = 512, []
    for _ in range(64):
        x = torch.randn(32, n, generator=g, dtype=torch.float64)
        w1, w2 = (math.sqrt(2 / n) * torch.randn(n, n, generator=g, dtype=torch.float64) for _ in range(2))
        found.append(second_moment(x + torch.relu(x @ w1.T) @ w2.T) / second_moment(x))
        assert second_moment(x + torch.relu(x @ w1.T) @ (0 * w2).T) == second_moment(x)
    values = torch.tensor(found)
    assert abs(float(values.mean()) - 3) < 5.5 * float(values.std()) / math.sqrt(len(found))


def test_the_signal_is_what_differs_between_examples():
    a = torch.tensor([[1.0, 5.0], [3.0, 5.0]], dtype=torch.float64)
    assert signal(a) == pytest.approx(0.5)  # variances 1 and 0
    assert second_moment(a) == pytest.approx((1 + 9 + 25 + 25) / 4)
    assert signal(a + 100) == pytest.approx(0.5)


def test_the_gain_of_a_start():
    """Four weights of 3 and 4 a unit: root mean square √12.5, times √2; free of the number of units."""
    w = torch.tensor([[3.0, 4.0], [4.0, 3.0]])
    assert gain(w) == pytest.approx(5.0)
    torch.manual_seed(0)
    assert gain(torch.nn.Linear(400, 400).weight) == pytest.approx(3**-0.5, rel=0.01)
    assert gain(torch.nn.init.kaiming_normal_(torch.empty(400, 400), nonlinearity="relu")) == pytest.approx(
        2**0.5, rel=0.02
    )
