"""What rows tell of each other's targets: leaving out by the formula and by hand, and targets that were moved."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from equipoise.probes._held_out import lower_bound
from equipoise.probes._told import Told, _errors, _squares, told


def line(rows: int, seed: int, wrong: float = 0.0) -> tuple[Tensor, Tensor]:
    """Two inputs, a target that is a smooth function of them and a little noise; a share of the targets drawn anew."""
    g = torch.Generator().manual_seed(seed)
    x = torch.randn(rows, 2, generator=g, dtype=torch.float64)
    y = torch.sin(x[:, :1]) + 0.5 * x[:, 1:] + 0.1 * torch.randn(rows, 1, generator=g, dtype=torch.float64)
    some = torch.rand(rows, generator=g) < wrong
    y[some] = y[some][torch.randperm(int(some.sum()), generator=g)]
    return x, y


def test_two_rows_by_hand():
    """K = [[1, e⁻¹], [e⁻¹, 1]]; left out, the row of y = 0 is told the mean ½ and e⁻¹(1 − ½)/(1 + λ) more by the other,
    which errs least with the largest λ, 1000: errors (½ + ½·e⁻¹/1001)²."""
    x, y = torch.tensor([[0.0], [1.0]]).double(), torch.tensor([[0.0], [1.0]]).double()
    own = _squares(x, x)
    left_out, _ = _errors(own, y, own, y)
    expected = (0.5 + 0.5 * torch.tensor(-1.0).exp().item() / 1001) ** 2
    assert left_out.tolist() == pytest.approx([expected] * 2, rel=1e-9)


def test_leaving_out_is_leaving_out():
    """The closed form equals n regressions without a row, about the mean of all rows."""
    x, y = line(30, 0)
    own = _squares(x, x)
    left_out, _ = _errors(own, y, own, y)
    scale, mean = own[own > 0].median(), y.mean(0)
    k = torch.exp(-own / scale)

    def errors(penalty: float) -> Tensor:
        out = []
        for i in range(30):
            rest = [j for j in range(30) if j != i]
            a = torch.linalg.solve(k[rest][:, rest] + penalty * torch.eye(29, dtype=torch.float64), (y - mean)[rest])
            out.append((y[i] - mean - k[i, rest] @ a).square().sum())
        return torch.stack(out)

    best = min(
        (errors(p) for p in torch.logspace(-3, 3, 13, dtype=torch.float64).tolist()), key=lambda e: float(e.sum())
    )
    assert torch.allclose(left_out, best, rtol=1e-6)


def test_targets_drawn_anew_are_seen_and_counted():
    stop = line(150, 1)
    clean, noisy = told(line(400, 2), stop, (400, 150)), told(line(400, 2, wrong=0.4), stop, (400, 150))
    bound = lambda t: lower_bound(t.fit_by_stop, t.stop_by_stop, paired=False, level=0.999)  # noqa: E731
    assert bound(clean) < 0 < bound(noisy)
    assert abs(clean.share_wrong) < 0.02
    assert noisy.share_wrong == pytest.approx(0.4, abs=0.08)


def test_the_share_by_hand():
    """Stop explains three quarters; of fit a half is right (¼) and a half drawn anew (1 + ¾): mean 1, share ½."""
    quarter = torch.full((4,), 0.25)
    t = Told(quarter, quarter, quarter, torch.tensor([0.25, 1.75]), (2, 4))
    assert t.share_wrong == pytest.approx(0.5)


def test_names_are_compared_place_by_place():
    a, b = torch.tensor([[1, 2, 3], [1, 2, 4]]), torch.tensor([[1, 2, 3], [9, 9, 9]])
    assert _squares(a, b).tolist() == [[0.0, 3.0], [1.0, 3.0]]


def test_what_does_not_vary_tells_nothing():
    """Constant columns and missing numbers are no distance; with equal inputs the mean is told."""
    y = torch.tensor([[0.0], [1.0], [2.0], [1.0]]).double()
    t = told((torch.ones(4, 2), y), (torch.full((4, 2), float("nan")), y), (4, 4))
    assert bool(torch.stack([t.fit_by_fit, t.stop_by_fit]).isfinite().all())
