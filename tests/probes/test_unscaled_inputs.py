"""Vector A-11: the condition of two features with sd 1 and 100, before and after standardizing; what is not read."""

from __future__ import annotations

from itertools import pairwise

import torch

from equipoise.probes.unscaled_inputs import channels, condition, scales


def test_the_condition_of_unequal_features():
    signs = torch.tensor([[1.0, 1.0], [1.0, -1.0], [-1.0, 1.0], [-1.0, -1.0]], dtype=torch.float64)
    x = signs * torch.tensor([1.0, 100.0], dtype=torch.float64) + 7
    assert abs(condition(x) - 1e4) < 1e-6
    assert abs(condition((x - x.mean(0)) / x.std(0)) - 1) < 1e-12


def test_gradient_descent_converges_as_the_condition_says():
    """At the best rate 2/(λ_min + λ_max) the loss falls by ((κ − 1)/(κ + 1))² a step."""
    h = torch.tensor([1.0, 9.0], dtype=torch.float64)
    theta = 1 / h  # the start at which every step is the slowest one
    loss = [float((h * theta**2).sum())]
    for _ in range(5):
        theta = theta - 2 / 10 * h * theta
        loss.append(float((h * theta**2).sum()))
    corners = torch.tensor([[1.0, 3.0], [1.0, -3.0], [-1.0, 3.0], [-1.0, -3.0]], dtype=torch.float64)
    k = condition(corners)
    assert all(abs(b / a - ((k - 1) / (k + 1)) ** 2) < 1e-12 for a, b in pairwise(loss))


def test_constants_and_indicators_are_not_read():
    x = torch.zeros(10, 4, dtype=torch.float64)
    x[:, 0] = torch.arange(10)
    x[0, 1] = 1.0  # an indicator
    x[:, 2] = 5.0  # a constant
    x[:, 3] = 3 + torch.arange(10) % 3
    mean, sd = scales(x)
    assert len(sd) == 2
    assert torch.allclose(sd, x[:, [0, 3]].std(0))
    assert torch.allclose(mean, x[:, [0, 3]].mean(0) / x[:, [0, 3]].std(0))


def test_the_channels_of_images_and_sequences():
    images = torch.arange(2 * 3 * 2 * 2).view(2, 3, 2, 2).float()
    assert channels(images).shape == (8, 3)
    assert channels(images)[:, 1].tolist() == [4, 5, 6, 7, 16, 17, 18, 19]
    assert channels(torch.zeros(5, 7, 4)).shape == (35, 4)
