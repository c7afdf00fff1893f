"""Muon against torch.optim step for step (its bfloat16 lifted), the SVD, and what goes to Adam."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from equipoise import techniques as T
from equipoise.data import Data
from equipoise.errors import EquipoiseError
from equipoise.technique import At
from equipoise.techniques.optimizers.muon import orthogonalized

from ..stepping import EXECUTORS, cohort_of, gap_to_torch, own_of


def theirs(net: nn.Module, rate: float, momentum: float, adam_rate: float) -> list[Any]:
    hidden = {"2.weight"}  # the one matrix that neither reads the input nor gives the output
    muon = [p for n, p in net.named_parameters() if n in hidden]
    rest = [p for n, p in net.named_parameters() if n not in hidden]
    return [
        torch.optim.Muon(muon, lr=rate, momentum=momentum, weight_decay=0.0),
        torch.optim.Adam(rest, lr=adam_rate, betas=(0.9, 0.95)),
    ]


@pytest.mark.parametrize("executor", EXECUTORS)
def test_equals_torch_step_for_step(executor: Any, targets: Data, monkeypatch: pytest.MonkeyPatch) -> None:
    """torch orthogonalizes in bfloat16; in the parameters' own precision its steps are ours."""
    monkeypatch.setattr(torch.Tensor, "bfloat16", lambda self: self.clone())
    knobs = ((0.02, 0.95, 1e-3), (0.005, 0.8, 3e-3))
    gap = gap_to_torch(
        [[T.Muon(*k)] for k in knobs], [lambda net, k=k: theirs(net, *k) for k in knobs], targets, executor
    )
    assert gap < 1e-10


@pytest.mark.parametrize("shape", [(6, 6), (4, 9), (9, 4), (8, 3, 2, 2), (5, 1)])
def test_a_step_in_bfloat16_agrees_with_torch(shape: tuple[int, ...]) -> None:
    """Against torch.optim.Muon as it is, to bfloat16's rounding (2⁻⁸ a product, five iterations of three)."""
    g = torch.randn(shape, generator=torch.Generator().manual_seed(1))
    p = nn.Parameter(torch.zeros(g.flatten(1).shape))
    p.grad = g.flatten(1)
    torch.optim.Muon([p], lr=1.0, momentum=0.5, weight_decay=0.0).step()
    t, w = T.Muon(1.0, 0.5), torch.zeros(shape)
    state = {"u": {"w": w}, "m": {}, "v": {}}
    clock = At(t=torch.tensor(0.0, dtype=torch.float64), rate=torch.tensor(1.0, dtype=torch.float64))
    new, _ = t.update({"w": g}, state, {"w": w}, clock)
    torch.testing.assert_close(new["w"].flatten(1), p.detach(), rtol=0, atol=0.06)


@pytest.mark.parametrize("shape", [(6, 6), (4, 9), (9, 4)])
def test_newton_schulz_keeps_the_directions_and_levels_the_sizes(shape: tuple[int, int]) -> None:
    """NS(U S Vᵀ) = U φ(S) Vᵀ, φ the quintic applied five times to S/‖S‖; all of it near 1."""
    draw = torch.randn(shape, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    u, _, vt = torch.linalg.svd(draw, full_matrices=False)
    s = torch.linspace(0.2, 3.0, min(shape), dtype=torch.float64)
    x = s / s.norm()
    for _ in range(5):
        x = 3.4445 * x - 4.7750 * x**3 + 2.0315 * x**5
    torch.testing.assert_close(orthogonalized(u @ torch.diag(s) @ vt, 5), u @ torch.diag(x) @ vt, rtol=0, atol=1e-12)
    assert bool(((x > 0.65) & (x < 1.25)).all())


def test_only_hidden_matrices_are_orthogonalized(targets: Data, images: Data) -> None:
    assert set(own_of(cohort_of([[T.Muon()]], targets), "Muon")["u"]) == {"2.weight"}
    every = own_of(cohort_of([[T.Muon(where="all")]], targets), "Muon")
    assert set(every["u"]) == {"0.weight", "2.weight", "4.weight"}
    assert set(every["m"]) == set(every["v"]) == {"0.bias", "2.bias", "4.bias"}

    def cnn() -> nn.Module:
        return nn.Sequential(
            nn.Conv2d(2, 4, 3), nn.ReLU(), nn.Conv2d(4, 3, 3), nn.ReLU(), nn.Flatten(), nn.Linear(48, 3)
        )

    cohort = cohort_of([[T.Muon()]], images, build=cnn)
    assert set(own_of(cohort, "Muon")["u"]) == {"2.weight"}
    assert any("1 of 3 weight matrices" in n for n in cohort.program.net.notes)
    cohort.train_epoch()
    assert not cohort.runs[0].failed


def test_a_network_without_hidden_matrices_is_refused(targets: Data) -> None:
    with pytest.raises(EquipoiseError, match="no weight matrix of a hidden layer"):
        cohort_of([[T.Muon()]], targets, build=lambda: nn.Sequential(nn.Linear(6, 4), nn.Tanh(), nn.Linear(4, 2)))
    with pytest.raises(EquipoiseError, match="steps is a whole number from 1"):
        T.Muon(steps=0)


def test_a_schedule_moves_both_rates() -> None:
    """At half the rate, Adam's first step on a bias is half as long too."""
    t, zero = T.Muon(0.02, adam_rate=1e-3), torch.tensor(0.0, dtype=torch.float64)
    w, g = {"w": torch.zeros(2, 2), "b": torch.zeros(2)}, {"w": torch.ones(2, 2), "b": torch.ones(2)}
    state = {"u": {"w": w["w"]}, "m": {"b": w["b"]}, "v": {"b": w["b"]}}
    full, half = (t.update(g, state, w, At(t=zero, rate=torch.tensor(r, dtype=torch.float64)))[0] for r in (0.02, 0.01))
    torch.testing.assert_close(full["b"], torch.full((2,), -1e-3))
    for n in w:
        torch.testing.assert_close(half[n], full[n] / 2)
