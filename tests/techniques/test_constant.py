"""Constant: every number of every affine map is c, and nothing else is."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import equipoise as eq
from equipoise import techniques as T
from equipoise.data import Data
from equipoise.errors import EquipoiseError

from ..models_of_users import OwnLayers
from ..starting import check_contract_of_starts, started


def test_weights_and_biases_are_c_and_normalizations_keep_theirs() -> None:
    x = torch.randn(4, 2, 8, 8)
    params, _ = started(OwnLayers(), x, T.Constant(-0.25))
    for name in ("c.weight", "c.bias", "fc.weight", "fc.bias"):
        assert (params[name] == -0.25).all()
    assert (params["bn.weight"] == 1).all() and not params["bn.bias"].any()


def test_the_biases_of_a_recurrent_module() -> None:
    class Last(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.rnn = nn.LSTM(3, 4, batch_first=True)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.rnn(x)[0][:, -1]

    params, _ = started(Last(), torch.zeros(2, 5, 3), T.Constant(0.5))
    assert all((v == 0.5).all() for v in params.values()) and len(params) == 4


def test_the_hidden_units_of_a_real_run_never_diverge(table: Data) -> None:
    model = nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 3))
    run = eq.train(model, eq.Recipe(T.Constant(0.1), T.Adam(0.01)), table, epochs=5, batch_size=32)
    w, moved = run.state["params"]["0.weight"], run.state["params"]["0.weight"] - 0.1
    assert moved.abs().min() > 1e-3  # it did train
    torch.testing.assert_close(w, w[:1].expand_as(w), rtol=0, atol=1e-6)  # as one unit
    rows = run.state["params"]["2.weight"]
    assert (rows[0] - rows[2]).abs().min() > 1e-2  # the output's rows are told apart by the labels


def test_an_infinite_constant_is_refused() -> None:
    with pytest.raises(EquipoiseError, match=r"Constant\(c=inf\)"):
        T.Constant(float("inf"))


def test_what_every_start_keeps() -> None:
    check_contract_of_starts(T.Constant(0.3))
