"""LayerNorm against nn.LayerNorm, and over channels and positions of images against F.layer_norm."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import equipoise as eq
from equipoise.errors import EquipoiseError
from equipoise.techniques.normalization.layer_norm import LayerNorm

from ..rig import Rig
from .norm_support import (
    F64,
    LAST,
    MAPS,
    C,
    assert_equals_torch,
    assert_half_precision_is_close,
    assert_kept_on_export,
    assert_off_is_plain,
    assert_stacked_equals_alone,
    network,
)


class OverAll(nn.Module):
    """F.layer_norm over C, H, W with γ, β per channel: what LayerNorm means on images."""

    def __init__(self, affine: bool) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(C)) if affine else None
        self.bias = nn.Parameter(torch.zeros(C)) if affine else None

    def forward(self, z: Tensor) -> Tensor:
        u, view = F.layer_norm(z, z.shape[1:]), (1, -1, *[1] * (z.dim() - 2))
        return u if self.weight is None or self.bias is None else u * self.weight.view(view) + self.bias.view(view)


@pytest.mark.parametrize("affine", [True, False])
@pytest.mark.parametrize("kind", MAPS)
def test_equals_torch_over_several_steps(kind: str, affine: bool) -> None:
    norm = nn.LayerNorm(C, elementwise_affine=affine) if kind in LAST else OverAll(affine)
    assert_equals_torch(LayerNorm(affine=affine), kind, norm, bias=True)


@pytest.mark.parametrize("w", [0.0, 0.25, 1.0])
@pytest.mark.parametrize("units", [None, (0, 4)])
def test_the_gate_mixes_and_units_are_chosen(units: Any, w: float) -> None:
    """w·ẑ + (1 − w)·z on the chosen units, with the statistics of the whole layer and the whole bias."""
    model, x = network("vectors")
    z, share = model[0](x), torch.zeros(C, dtype=F64)
    share[list(range(C) if units is None else units)] = w
    u = (z - z.mean(-1, keepdim=True)) / (z.var(-1, correction=0, keepdim=True) + 0.1).sqrt()
    out = Rig(model, x, LayerNorm(w=w, units=units, epsilon=0.1))(x)
    torch.testing.assert_close(out, model[2](model[1](share * u + (1 - share) * z)), rtol=0, atol=1e-12)


@pytest.mark.parametrize("kind", ["vectors", "conv2d"])
def test_ways_of_running_agree(kind: str) -> None:
    assert_stacked_equals_alone(LayerNorm(), kind)
    assert_off_is_plain(LayerNorm(), kind)
    assert_half_precision_is_close(LayerNorm(), kind)


@pytest.mark.parametrize("options", [{}, {"w": 0.3}, {"units": (1, 5)}])
def test_is_kept_on_export(options: dict[str, Any]) -> None:
    assert_kept_on_export(LayerNorm(**options), "sequences")


def test_one_row_equals_its_place_in_a_batch_in_training_too() -> None:
    model, x = network("conv2d")
    rig = Rig(model, x, LayerNorm())
    torch.testing.assert_close(rig(x[2:3]), rig(x)[2:3], rtol=0, atol=1e-14)


def test_trains_and_predicts_from_its_folder_of_weights(table: Any) -> None:
    run = eq.train("mlp(hidden=(8, 8))", eq.Recipe(LayerNorm(), eq.techniques.Adam(0.02)), table, epochs=5)
    assert run.history[-1]["stop_loss"] < 0.9 * run.history[0]["stop_loss"]
    x = table.x[table.rows["test"]]
    prepared = run.program.objective.prepare(x, run.program.by_key, run.const.fitted)
    plain = torch.softmax(run.model(prepared), -1).detach()
    torch.testing.assert_close(torch.tensor(run.predict(x)).float(), plain, rtol=0, atol=1e-6)


def test_refusals() -> None:
    with pytest.raises(EquipoiseError, match="units lists"):
        LayerNorm(units=())
    with pytest.raises(EquipoiseError, match="epsilon is a positive number"):
        LayerNorm(epsilon=-1.0)
    with pytest.raises(EquipoiseError, match="a site holds one normalization"):
        Rig(*network("vectors"), LayerNorm(), eq.techniques.BatchNorm())
