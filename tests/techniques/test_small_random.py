"""SmallRandom's three kinds against scipy's distributions."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from scipy import stats
from torch import nn

from equipoise import techniques as T

from ..starting import check_contract_of_starts, check_distribution, started

MODEL, X = nn.Sequential(nn.Linear(600, 300)), torch.zeros(2, 600)
LAWS = {"normal": stats.norm(0, 0.001), "uniform": stats.uniform(-0.001, 0.002), "positive": stats.uniform(0, 0.001)}


@pytest.mark.parametrize("kind", LAWS)
def test_the_law_ignores_the_width(kind: str) -> None:
    params, _ = started(MODEL, X, T.SmallRandom(kind=kind), seed=3)
    law: Any = LAWS[kind]
    check_distribution(params["0.weight"], law)
    assert not params["0.bias"].any()


def test_the_decks_form_of_xavier() -> None:
    """D1 prints random()/√d: positive, mean 1/(2√d), variance 1/(12 d)."""
    params, _ = started(MODEL, X, T.SmallRandom(600**-0.5, "positive"), seed=3)
    w = params["0.weight"].double()
    n = w.numel()
    assert abs(w.mean() * 600**0.5 - 0.5) < 5 * (12 * n) ** -0.5
    # the variance of (u − ½)² is 1/80 − 1/144
    assert abs(w.var() * 600 - 1 / 12) < 5 * ((1 / 80 - 1 / 144) / n) ** 0.5
    assert w.min() >= 0


def test_what_every_start_keeps() -> None:
    check_contract_of_starts(T.SmallRandom())
