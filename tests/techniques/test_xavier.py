"""Xavier's variances against scipy's distributions; the published uniform bound."""

from __future__ import annotations

import pytest
import torch
from scipy import stats
from torch import nn

from equipoise import techniques as T
from equipoise.errors import EquipoiseError

from ..starting import check_contract_of_starts, check_distribution, started

MODEL, X = nn.Sequential(nn.Linear(600, 300)), torch.zeros(2, 600)


@pytest.mark.parametrize(("mode", "variance"), [("in", 1 / 600), ("average", 2 / 900)])
@pytest.mark.parametrize("kind", ["normal", "uniform"])
@pytest.mark.parametrize("gain", [1.0, 5 / 3])
def test_dense_weights(mode: str, variance: float, kind: str, gain: float) -> None:
    params, _ = started(MODEL, X, T.Xavier(gain, mode, kind), seed=3)
    sd = gain * variance**0.5
    law = stats.norm(0, sd) if kind == "normal" else stats.uniform(-(3**0.5) * sd, 2 * 3**0.5 * sd)
    check_distribution(params["0.weight"], law)
    assert not params["0.bias"].any()


def test_the_default_is_the_papers_uniform() -> None:
    """U[−√6/√(n_j + n_(j+1)), √6/√(n_j + n_(j+1))]: Glorot and Bengio (2010), eq. 16; torch's xavier_uniform_."""
    params, _ = started(MODEL, X, T.Xavier(), seed=3)
    bound = (6 / 900) ** 0.5
    reference = nn.init.xavier_uniform_(torch.empty(300, 600), generator=torch.Generator().manual_seed(1))
    assert bound * 0.999 < params["0.weight"].abs().max() <= bound
    assert stats.ks_2samp(params["0.weight"].ravel(), reference.ravel()).pvalue > 1e-6


def test_a_gain_of_nothing_is_refused() -> None:
    with pytest.raises(EquipoiseError, match=r"Xavier\(gain=0"):
        T.Xavier(0.0)


def test_what_every_start_keeps() -> None:
    check_contract_of_starts(T.Xavier())
