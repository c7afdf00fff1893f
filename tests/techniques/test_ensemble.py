"""Ensemble: members, kinds and the three means against SciPy and counts; averaging removes variance, not bias."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import stats

from equipoise import techniques as T
from equipoise.errors import EquipoiseError
from equipoise.recipe import Recipe, resolve


def predictions(m: int = 5, n: int = 40, k: int = 3) -> torch.Tensor:
    return torch.softmax(2 * torch.randn(m, n, k, generator=torch.Generator().manual_seed(8), dtype=torch.float64), -1)


def test_the_means() -> None:
    p = predictions()
    torch.testing.assert_close(T.Ensemble().combine(p), torch.from_numpy(p.numpy().mean(0)))
    geometric = stats.gmean(p.numpy(), axis=0)
    want = geometric / geometric.sum(-1, keepdims=True)
    np.testing.assert_allclose(T.Ensemble(mean="geometric").combine(p).numpy(), want, rtol=1e-12)
    vote = T.Ensemble(mean="vote").combine(p)
    counts = np.stack([np.bincount(row, minlength=3) for row in p.argmax(-1).T.numpy()])
    np.testing.assert_allclose(vote.numpy(), (counts + 1 / 3) / 6, rtol=1e-12)
    torch.testing.assert_close(vote.sum(-1), torch.ones(40).double())
    modes = stats.mode(p.argmax(-1).numpy(), axis=0)
    clear = np.sort(counts, -1)[:, -1] > np.sort(counts, -1)[:, -2]
    assert clear.any() and (vote.argmax(-1).numpy()[clear] == modes.mode[clear]).all()


def test_the_geometric_mean_is_the_softmax_of_the_mean_logits() -> None:
    z = torch.randn(4, 6, 5, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    torch.testing.assert_close(T.Ensemble(mean="geometric").combine(torch.softmax(z, -1)), torch.softmax(z.mean(0), -1))
    certain = torch.tensor([[[1.0, 0.0]], [[0.5, 0.5]]])
    assert bool(T.Ensemble(mean="geometric").combine(certain).isfinite().all())


@pytest.mark.parametrize("mean", ["arithmetic", "geometric", "vote"])
def test_one_member_is_itself(mean: str) -> None:
    p = predictions(1)
    combined = T.Ensemble(mean=mean).combine(p)
    assert torch.equal(combined.argmax(-1), p[0].argmax(-1))
    if mean != "vote":
        torch.testing.assert_close(combined, p[0])


def test_members_have_seeds_of_their_own_and_the_same_rows() -> None:
    rows = torch.arange(7)
    runs = T.Ensemble(6).runs(3, rows)
    seeds = [s for s, _ in runs]
    assert seeds[0] == 3 and len(set(seeds)) == 6
    assert all(0 <= s < 1 << 32 and r is rows for s, r in runs)
    assert [s for s, _ in T.Ensemble(4).runs(3, rows)] == seeds[:4]
    assert not set(seeds) & {s for s, _ in T.Ensemble(6).runs(4, rows)}


def test_members_may_differ_in_recipe_and_network() -> None:
    t = T.Ensemble(5, recipes=("", "Dropout(0.3), L2(1e-4)"), models=("mlp", "mlp(hidden=(8,))", "mlp"))
    assert [t.kind(m)[0] for m in range(5)] == ["", "Dropout(0.3), L2(1e-4)"] * 2 + [""]
    assert [t.kind(m)[1] for m in range(5)] == ["mlp", "mlp(hidden=(8,))", "mlp", "mlp", "mlp(hidden=(8,))"]
    assert T.Ensemble().kind(3) == ("", "")
    again = Recipe.from_yaml(Recipe(t).to_yaml())
    assert again == Recipe(t)


def test_averaging_independent_models_divides_the_variance_and_leaves_the_bias() -> None:
    """Ridge with XᵀX = diag(10, 1), λ = 1, b = x₀ = (1, 1), noise 1: bias² .349174 and variance .332645 in closed form,
    .0832 for the mean of four; 200,000 draws, within five standard errors."""
    g, n, m = torch.Generator().manual_seed(1), 200_000, 4
    s = torch.tensor([10.0, 1.0], dtype=torch.float64)
    w = 1 / (s + 1)
    noise = torch.randn(m, n, 2, generator=g, dtype=torch.float64) * s.sqrt()  # Xᵀε has covariance XᵀX
    f = (w * (s + noise)).sum(-1, keepdim=True)  # x₀'(XᵀX + λ)⁻¹ Xᵀ(Xb + ε)
    one, mean = f[0], T.Ensemble(m).combine(f)
    bias = float((w * s).sum() - 2)
    assert bias**2 == pytest.approx(0.349174, abs=1e-6)
    for prediction, variance in ((one, 0.332645), (mean, 0.332645 / m)):
        error = float(prediction.mean()) - 2 - bias
        assert abs(error) < 5 * (variance / n) ** 0.5
        assert float(prediction.var()) == pytest.approx(variance, abs=5 * variance * (2 / n) ** 0.5 + 1e-6)


def test_wrong_options_are_refused() -> None:
    for wrong, rule in (
        ({"members": 0}, "members is a whole number from 1"),
        ({"recipes": ("", 3)}, "recipes is a list of texts"),
        ({"models": "mlp"}, "models is a list of texts"),
        ({"members": 1, "models": ("a", "b")}, "2 models for 1 members"),
        ({"mean": "median"}, "mean is one of"),
    ):
        with pytest.raises(EquipoiseError, match=rule):
            T.Ensemble(**wrong)  # type: ignore[arg-type]
    with pytest.raises(EquipoiseError, match="is for classify"):
        resolve(Recipe(T.Ensemble(mean="geometric")), "regress")
    with pytest.raises(EquipoiseError, match="each of them decides which members a run has"):
        Recipe(T.Ensemble(), T.Bagging())
