"""Vector A-1 of the methods: a constant start keeps all units alike, a random one does not."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from equipoise.probes.symmetry import diversity, gates_of, offset


def trained(start: float | None) -> tuple[Tensor, Tensor, Tensor]:
    """W₁ before and after 5 steps of SGD at .5, and its last gradient, of an 8-16-3 tanh net on cross-entropy."""
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(8, 16), nn.Tanh(), nn.Linear(16, 3)).double()
    if start is not None:
        for p in net.parameters():
            nn.init.constant_(p, start)
    x, y = torch.randn(64, 8, dtype=torch.float64), torch.arange(64) % 3
    first: nn.Linear = net[0]  # type: ignore[assignment]
    before, optimizer = first.weight.detach().clone(), torch.optim.SGD(net.parameters(), 0.5)
    for _ in range(5):
        optimizer.zero_grad()
        nn.functional.cross_entropy(net(x), y).backward()
        optimizer.step()
    assert first.weight.grad is not None
    return before, first.weight.detach(), first.weight.grad


def test_a_constant_start_stays_one_unit():
    _, w, g = trained(0.1)
    assert diversity(w) < 1e-20
    assert diversity(g) < 1e-20
    assert torch.linalg.matrix_rank(g) == 1
    assert g.abs().max() > 1e-4  # it learns all the same


def test_the_default_start_is_diverse():
    before, w, g = trained(None)
    assert abs(diversity(before) - 0.90) < 0.1
    assert diversity(w) > 0.5
    assert diversity(g) > 0.1
    assert torch.linalg.matrix_rank(g) == 8


def test_zeros_get_no_gradient():
    _, w, g = trained(0.0)
    assert float(g.abs().max()) == 0.0
    assert diversity(w) == diversity(g) == 0.0


def test_by_hand():
    w = torch.tensor([[1.0, 0.0], [0.0, 1.0]])  # mean (½, ½): each row is ½ away in square; Σ‖w‖² = 2
    assert diversity(w) == 0.5
    assert diversity(3 * w) == 0.5  # free of the scale


def test_what_is_not_finite_is_no_symmetry():
    assert math.isnan(diversity(torch.tensor([[math.nan, 1.0], [2.0, 3.0]])))
    assert math.isnan(diversity(torch.tensor([[math.inf, 1.0], [2.0, 3.0]])))


def test_weights_that_are_not_centred():
    """U[0, 1) has mean ½ and sd 1/√12: √3, by the midpoints of a thousand bins; a centred start has none."""
    middle = (torch.arange(1000, dtype=torch.float64) + 0.5) / 1000
    assert abs(offset(middle) - 3**0.5) < 1e-5
    assert offset(middle - 0.5) < 1e-12
    assert offset(torch.full((2, 3), 0.1)) > 1e6


def test_gates_differ_and_their_units_do_not():
    """Two gates of two units each: rows (1, 0), (1, 0) and (0, 1), (0, 1)."""
    w = torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0], [0.0, 1.0]])
    assert diversity(w) == 0.5
    assert diversity(w, gates=2) == 0.0
    gru, linear = nn.GRU(3, 5).state_dict(), nn.Linear(3, 5).state_dict()
    assert gates_of("weight_ih_l0", gru) == gates_of("weight_hh_l0", gru) == 3
    assert gates_of("weight", linear) == 1
