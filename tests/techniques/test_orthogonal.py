"""Orthogonal: exact orthogonality in every shape, Haar distribution against scipy's, gates of recurrent modules."""

from __future__ import annotations

import pytest
import torch
from scipy import stats
from torch import Tensor, nn

from equipoise import techniques as T

from ..starting import F64, LEVEL, check_contract_of_starts, started


def gram(w: Tensor) -> Tensor:
    """W Wᵀ or Wᵀ W, whichever is smaller."""
    w = w.flatten(1)
    return w @ w.T if w.shape[0] <= w.shape[1] else w.T @ w


@pytest.mark.parametrize(("inputs", "outputs"), [(20, 20), (30, 12), (12, 30)])
@pytest.mark.parametrize("gain", [1.0, 2**0.5])
def test_rows_or_columns_are_orthogonal_of_one_length(inputs: int, outputs: int, gain: float) -> None:
    x = torch.zeros(2, inputs, dtype=F64)
    params, _ = started(nn.Sequential(nn.Linear(inputs, outputs)), x, T.Orthogonal(gain), seed=2)
    n = min(inputs, outputs)
    torch.testing.assert_close(gram(params["0.weight"]), gain**2 * torch.eye(n, dtype=F64), rtol=0, atol=1e-12)
    assert not params["0.bias"].any()


def test_kernels_are_flattened() -> None:
    model = nn.Sequential(nn.Conv2d(4, 8, 3), nn.Flatten())
    params, _ = started(model, torch.zeros(2, 4, 3, 3, dtype=F64), T.Orthogonal(), seed=2)
    torch.testing.assert_close(gram(params["0.weight"]), torch.eye(8, dtype=F64), rtol=0, atol=1e-12)


def test_recurrent_weights_are_orthogonal_gate_by_gate() -> None:
    class Last(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.rnn = nn.LSTM(5, 7, batch_first=True)

        def forward(self, x: Tensor) -> Tensor:
            return self.rnn(x)[0][:, -1]

    params, _ = started(Last(), torch.zeros(2, 4, 5, dtype=F64), T.Orthogonal(), seed=2)
    for gate in params["rnn.weight_hh_l0"].split(7):
        torch.testing.assert_close(gate @ gate.T, torch.eye(7, dtype=F64), rtol=0, atol=1e-12)
    for gate in params["rnn.weight_ih_l0"].split(7):
        torch.testing.assert_close(gate.T @ gate, torch.eye(5, dtype=F64), rtol=0, atol=1e-12)


def test_the_law_is_haars() -> None:
    """Every entry, and the trace, of 400 matrices 4×4 as scipy's ortho_group draws them. Without the sign of R the
    diagonal of Q would be negative more often than not."""
    x, model = torch.zeros(2, 4, dtype=F64), nn.Sequential(*(nn.Linear(4, 4) for _ in range(400)))
    params, _ = started(model, x, T.Orthogonal(), seed=2)
    ours = torch.stack([params[f"{i}.weight"] for i in range(400)]).numpy()
    theirs = stats.ortho_group.rvs(4, 4000, random_state=1)
    for i in range(4):
        for j in range(4):
            assert stats.ks_2samp(ours[:, i, j], theirs[:, i, j]).pvalue > LEVEL / 17
    traces = [m.trace(axis1=1, axis2=2) for m in (ours, theirs)]
    assert stats.ks_2samp(*traces).pvalue > LEVEL / 17


def test_a_deep_linear_net_keeps_every_length() -> None:
    x = torch.randn(8, 32, dtype=F64, generator=torch.Generator().manual_seed(1))
    model = nn.Sequential(*(nn.Linear(32, 32) for _ in range(50)))
    params, _ = started(model, x, T.Orthogonal(), seed=2)
    torch.testing.assert_close(torch.func.functional_call(model.double(), params, (x,)).norm(dim=1), x.norm(dim=1))


def test_what_every_start_keeps() -> None:
    check_contract_of_starts(T.Orthogonal())
