"""Vector A-18: one step of SGD at .1 where the gradient is the weight."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import torch

from equipoise.probes.update_ratio import UpdateRatio, update_ratio


def test_a_tenth():
    w = torch.nn.Parameter(torch.tensor([3.0, 4.0], dtype=torch.float64))
    old = w.detach().clone()
    (w.square().sum() / 2).backward()  # ∂/∂w = w
    torch.optim.SGD([w], 0.1).step()
    assert abs(float(update_ratio(w.detach(), old)) - 0.1) < 1e-15
    assert abs(float(w.detach().norm()) - 4.5) < 1e-14


def test_zero_weights_have_no_ratio():
    assert torch.isinf(update_ratio(torch.ones(2), torch.zeros(2)))


def test_steps_that_silence_units():
    """A ReLU layer of which a quarter is silent at the start and three quarters at the end; not the other way round,
    nor where half is learned without them."""

    def moment(silent: int) -> Any:
        a = torch.ones(3, 4)
        a[:, :silent] = 0.0
        return SimpleNamespace(layers=[SimpleNamespace(a=a, activation="relu", is_output=False)])

    def killed(first: int, last: int, learned: float = 0.4) -> bool:
        trace: Any = SimpleNamespace(first=moment(first), last=moment(last), learned=learned)
        return UpdateRatio()._killed(trace)

    assert killed(1, 3)
    assert not killed(1, 3, learned=0.5)
    assert not killed(3, 3) and not killed(1, 2) and not killed(3, 1)
