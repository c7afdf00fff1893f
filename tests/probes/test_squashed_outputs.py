"""The floor of squashed outputs, against the loss PyTorch gives; who lies above it and who does not."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F

from equipoise.probes.squashed_outputs import above, filled, floor, off_one


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


def test_what_lies_in_the_bounds():
    logits = torch.tensor([[3.0, -3.0, 0.0], [-4.0, 5.0, 1.0]])
    assert math.isnan(filled(logits)) and math.isnan(off_one(logits))
    assert filled(logits.sigmoid()) == pytest.approx(1 / (1 + math.exp(-5)) - 1 / (1 + math.exp(4)), rel=1e-5)
    assert off_one(logits.sigmoid()) > 0.1
    assert off_one(logits.softmax(-1)) < 1e-6
    assert filled(torch.tensor([[0.3, 0.4]])) == pytest.approx(0.1)  # small logits may lie there by chance
