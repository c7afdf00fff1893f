"""Adam against torch.optim, step for step."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from equipoise import techniques as T
from equipoise.data import Data
from equipoise.errors import EquipoiseError
from equipoise.technique import At

from ..stepping import EXECUTORS, gap_to_torch


@pytest.mark.parametrize("executor", EXECUTORS)
def test_equals_torch_step_for_step(executor: Any, targets: Data) -> None:
    knobs = ((0.01, 0.9, 0.999, 1e-8), (0.003, 0.8, 0.95, 1e-3))
    gap = gap_to_torch(
        [[T.Adam(*k)] for k in knobs],
        [lambda net, k=k: [torch.optim.Adam(net.parameters(), lr=k[0], betas=k[1:3], eps=k[3])] for k in knobs],
        targets,
        executor,
    )
    assert gap < 1e-10


def test_a_dead_unit_stays_finite() -> None:
    """A gradient of exactly 0 from the start moves nothing; δ = 0 would make it 0/0, and is refused."""
    t, w = T.Adam(), {"w": torch.zeros(3)}
    clock = At(t=torch.tensor(0.0, dtype=torch.float64), rate=torch.tensor(1e-3, dtype=torch.float64))
    assert torch.equal(t.update({"w": torch.zeros(3)}, t.start(w, None), w, clock)[0]["w"], torch.zeros(3))
    with pytest.raises(EquipoiseError, match="delta must lie in"):
        T.Adam(delta=0.0)
