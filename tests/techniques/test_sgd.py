"""SGD against torch.optim, step for step."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from equipoise import techniques as T
from equipoise.data import Data

from ..stepping import EXECUTORS, gap_to_torch


@pytest.mark.parametrize("executor", EXECUTORS)
def test_equals_torch_step_for_step(executor: Any, targets: Data) -> None:
    rates = (0.1, 0.02)
    gap = gap_to_torch(
        [[T.SGD(r)] for r in rates],
        [lambda net, r=r: [torch.optim.SGD(net.parameters(), lr=r)] for r in rates],
        targets,
        executor,
    )
    assert gap < 1e-10
