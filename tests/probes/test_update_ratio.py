"""Vector A-18: one step of SGD at .1 where the gradient is the weight."""

from __future__ import annotations

import torch

from equipoise.probes.update_ratio import update_ratio


def test_a_tenth():
    w = torch.nn.Parameter(torch.tensor([3.0, 4.0], dtype=torch.float64))
    old = w.detach().clone()
    (w.square().sum() / 2).backward()  # ∂/∂w = w
    torch.optim.SGD([w], 0.1).step()
    assert abs(float(update_ratio(w.detach(), old)) - 0.1) < 1e-15
    assert abs(float(w.detach().norm()) - 4.5) < 1e-14


def test_zero_weights_have_no_ratio():
    assert torch.isinf(update_ratio(torch.ones(2), torch.zeros(2)))
