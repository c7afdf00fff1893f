"""AdamW against torch.optim step for step, decay on the affine weights alone, and its one place."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from equipoise import techniques as T
from equipoise.data import Data
from equipoise.errors import EquipoiseError
from equipoise.recipe import Recipe

from ..stepping import EXECUTORS, gap_to_torch


@pytest.mark.parametrize("executor", EXECUTORS)
def test_equals_torch_step_for_step(executor: Any, targets: Data) -> None:
    knobs = ((0.01, 0.1), (0.003, 0.5))

    def theirs(net: torch.nn.Module, rate: float, decay: float) -> list[Any]:
        weights = [p for p in net.parameters() if p.dim() > 1]
        biases = {"params": [p for p in net.parameters() if p.dim() == 1], "weight_decay": 0.0}
        return [torch.optim.AdamW([{"params": weights}, biases], lr=rate, weight_decay=decay)]

    gap = gap_to_torch(
        [[T.AdamW(*k)] for k in knobs], [lambda net, k=k: theirs(net, *k) for k in knobs], targets, executor
    )
    assert gap < 1e-10


def test_by_default_it_is_adam() -> None:
    t, adam = T.AdamW(), T.Adam()
    assert {k: v for k, v in t.knobs().items() if k != "decay"} == adam.knobs()
    assert t.decay == 0


def test_decay_has_one_place() -> None:
    Recipe(T.AdamW(), T.WeightDecay(0.1))
    with pytest.raises(EquipoiseError, match=r"use AdamW\(decay=0\) with WeightDecay"):
        Recipe(T.AdamW(decay=0.1), T.WeightDecay(0.1))
