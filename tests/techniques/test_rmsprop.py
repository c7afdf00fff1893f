"""RMSprop against torch.optim, step for step."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from equipoise import techniques as T
from equipoise.data import Data
from equipoise.technique import At

from ..stepping import EXECUTORS, gap_to_torch


@pytest.mark.parametrize("executor", EXECUTORS)
def test_equals_torch_step_for_step(executor: Any, targets: Data) -> None:
    knobs = ((0.01, 0.9, 1e-8), (0.003, 0.99, 1e-3))
    gap = gap_to_torch(
        [[T.RMSprop(*k)] for k in knobs],
        [lambda net, k=k: [torch.optim.RMSprop(net.parameters(), lr=k[0], alpha=k[1], eps=k[2])] for k in knobs],
        targets,
        executor,
    )
    assert gap < 1e-10


def test_the_first_step_is_not_corrected() -> None:
    """ε g/(√((1 − β) g²) + δ): 1/√(1 − β) times the rate, whatever the gradient's size."""
    t, w = T.RMSprop(0.01, 0.91), {"w": torch.tensor([3.0, -5.0], dtype=torch.float64)}
    grads = {"w": torch.tensor([1e3, -1e-3], dtype=torch.float64)}
    new, _ = t.update(grads, t.start(w, None), w, At(rate=torch.tensor(0.01, dtype=torch.float64)))
    torch.testing.assert_close(w["w"] - new["w"], torch.tensor([0.01, -0.01]).double() / 0.09**0.5, rtol=1e-4, atol=0)
