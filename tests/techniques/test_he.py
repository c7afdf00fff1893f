"""He's variances against scipy's distributions, on dense, grouped and recurrent weights."""

from __future__ import annotations

import pytest
import torch
from scipy import stats
from torch import nn

from equipoise import techniques as T

from ..starting import F64, check_contract_of_starts, check_distribution, started

VARIANCES = {"in": 2 / 600, "out": 2 / 300, "average": 4 / 900}  # 600 inputs, 300 outputs


@pytest.mark.parametrize("mode", VARIANCES)
@pytest.mark.parametrize("kind", ["normal", "uniform"])
def test_dense_weights(mode: str, kind: str) -> None:
    params, _ = started(nn.Sequential(nn.Linear(600, 300)), torch.zeros(2, 600), T.He(mode, kind), seed=3)
    sd = VARIANCES[mode] ** 0.5
    law = stats.norm(0, sd) if kind == "normal" else stats.uniform(-(3**0.5) * sd, 2 * 3**0.5 * sd)
    check_distribution(params["0.weight"], law)
    assert not params["0.bias"].any()


@pytest.mark.parametrize(
    ("mode", "variance"), [("in", 2 / (64 * 9)), ("out", 2 / (256 * 9)), ("average", 4 / (320 * 9))]
)
def test_grouped_kernels_count_channels_per_group_times_kernel(mode: str, variance: float) -> None:
    model = nn.Sequential(nn.Conv2d(128, 256, 3, groups=2), nn.Flatten())
    params, _ = started(model, torch.zeros(2, 128, 3, 3), T.He(mode), seed=3)
    check_distribution(params["0.weight"], stats.norm(0, variance**0.5))


def test_every_matrix_of_a_recurrent_module() -> None:
    class Last(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.rnn = nn.GRU(100, 200, batch_first=True)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.rnn(x)[0][:, -1]

    params, _ = started(Last(), torch.zeros(2, 3, 100), T.He(), seed=3)
    first, second = params["rnn.weight_ih_l0"], params["rnn.weight_hh_l0"]
    check_distribution(torch.cat([first.ravel() * (100 / 2) ** 0.5, second.ravel() * (200 / 2) ** 0.5]), stats.norm())
    assert not params["rnn.bias_ih_l0"].any() and not params["rnn.bias_hh_l0"].any()


def test_weights_of_different_sites_and_seeds_are_independent() -> None:
    model = nn.Sequential(nn.Linear(100, 100), nn.Linear(100, 100))
    a, _ = started(model, torch.zeros(2, 100), T.He(), seed=3)
    b, _ = started(model, torch.zeros(2, 100), T.He(), seed=4)
    for one, two in ((a["0.weight"], a["1.weight"]), (a["0.weight"], b["0.weight"])):
        r = torch.corrcoef(torch.stack([one.ravel(), two.ravel()]))[0, 1]
        assert abs(r) < 5.0 * 100**-1  # standard error 1/√10,000


def test_single_precision_draws_the_same_numbers() -> None:
    model = nn.Sequential(nn.Linear(20, 20))
    single, _ = started(model, torch.zeros(2, 20), T.He(), seed=3)
    double, _ = started(model, torch.zeros(2, 20, dtype=F64), T.He(), seed=3)
    torch.testing.assert_close(single["0.weight"].double(), double["0.weight"], rtol=1e-5, atol=1e-7)


def test_what_every_start_keeps() -> None:
    check_contract_of_starts(T.He())
