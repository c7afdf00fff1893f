"""The spectral radius of recurrent weights, block by block."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from equipoise.probes.recurrent_radius import radius, square


def test_by_hand():
    turn = torch.tensor([[0.0, -3.0], [3.0, 0.0]])  # eigenvalues ±3i
    assert radius(turn) == pytest.approx(3.0)
    assert radius(torch.cat([torch.diag(torch.tensor([0.5, -2.5])), turn, torch.zeros(2, 2)])) == pytest.approx(3.0)
    assert math.isnan(radius(torch.full((2, 2), math.inf)))


def test_the_usual_starts():
    """PyTorch draws from U(±1/√n): sd 1/√(3n), radius about 1/√3; orthogonal blocks have 1."""
    torch.manual_seed(0)
    w = nn.LSTM(4, 200).state_dict()["weight_hh_l0"]
    assert radius(w) == pytest.approx(3**-0.5, rel=0.1)
    assert radius(nn.init.orthogonal_(torch.empty(50, 50))) == pytest.approx(1.0)


def test_what_is_square():
    cells = nn.GRU(4, 6), nn.LSTM(4, 6), nn.RNN(4, 6)
    assert all(square(m.state_dict()["weight_hh_l0"]) for m in cells)
    assert not square(nn.LSTM(4, 8, proj_size=3).state_dict()["weight_hh_l0"])
