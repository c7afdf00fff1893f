"""The floor of squashed outputs, against the loss PyTorch gives; who lies above it and who does not."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F

from equipoise.probes.squashed_outputs import above, floor


@pytest.mark.parametrize("classes", [2, 3, 10])
def test_the_floor_is_the_loss_of_a_certain_probability(classes: int):
    certain = torch.eye(classes, dtype=torch.float64)
    losses = F.cross_entropy(certain, torch.arange(classes), reduction="none")
    assert losses.tolist() == pytest.approx([floor(classes)] * classes, rel=1e-12)
    g = torch.Generator().manual_seed(0)
    squashed = torch.rand(1000, classes, generator=g, dtype=torch.float64)  # whatever the outputs, none loses less
    assert bool((F.cross_entropy(squashed, torch.arange(1000) % classes, reduction="none") >= floor(classes)).all())


def test_free_outputs_pass_it():
    assert floor(2) == pytest.approx(math.log(1 + 1 / math.e))
    losses = torch.full((100,), 1.1 * floor(3), dtype=torch.float64)
    assert above(losses, 3) == pytest.approx(1.1)
    losses[0] = 0.9 * floor(3)
    assert math.isnan(above(losses, 3))
