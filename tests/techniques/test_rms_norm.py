"""RMSNorm against nn.RMSNorm, and over channels and positions of images against F.rms_norm."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from equipoise.techniques.normalization.rms_norm import RMSNorm

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
    """F.rms_norm over C, H, W with γ per channel."""

    def __init__(self, affine: bool) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(C)) if affine else None

    def forward(self, z: Tensor) -> Tensor:
        u = F.rms_norm(z, z.shape[1:], eps=1e-5)
        return u if self.weight is None else u * self.weight.view(1, -1, *[1] * (z.dim() - 2))


@pytest.mark.parametrize("affine", [True, False])
@pytest.mark.parametrize("kind", MAPS)
def test_equals_torch_over_several_steps(kind: str, affine: bool) -> None:
    norm = nn.RMSNorm(C, eps=1e-5, elementwise_affine=affine) if kind in LAST else OverAll(affine)
    assert_equals_torch(RMSNorm(affine=affine), kind, norm, bias=True)


@pytest.mark.parametrize("w", [0.0, 0.25, 1.0])
@pytest.mark.parametrize("units", [None, (0, 4)])
def test_the_gate_mixes_and_units_are_chosen(units: Any, w: float) -> None:
    model, x = network("vectors")
    z, share = model[0](x), torch.zeros(C, dtype=F64)
    share[list(range(C) if units is None else units)] = w
    u = z / (z.square().mean(-1, keepdim=True) + 0.1).sqrt()
    out = Rig(model, x, RMSNorm(w=w, units=units, epsilon=0.1))(x)
    torch.testing.assert_close(out, model[2](model[1](share * u + (1 - share) * z)), rtol=0, atol=1e-12)


@pytest.mark.parametrize("kind", ["vectors", "conv2d"])
def test_ways_of_running_agree(kind: str) -> None:
    assert_stacked_equals_alone(RMSNorm(), kind)
    assert_off_is_plain(RMSNorm(), kind)
    assert_half_precision_is_close(RMSNorm(), kind)


@pytest.mark.parametrize("kind", ["vectors", "conv2d"])
def test_large_half_precision_values_do_not_overflow(kind: str) -> None:
    """Squares of float16 are taken in float32: 1000² is beyond float16."""
    model, x = network(kind)
    layer: Any = Rig(model.float(), x.float(), RMSNorm(epsilon=1e-12)).net.module[0].normalization  # type: ignore[union-attr,index]
    z = torch.full_like(model[0](x.float()), 1000.0, dtype=torch.float16)
    torch.testing.assert_close(layer(z).float(), torch.ones_like(z).float(), rtol=0, atol=0.01)


@pytest.mark.parametrize("options", [{}, {"w": 0.3}, {"units": (1, 5)}])
@pytest.mark.parametrize("kind", ["vectors", "conv2d"])
def test_is_kept_on_export(kind: str, options: dict[str, Any]) -> None:
    assert_kept_on_export(RMSNorm(**options), kind)


def test_a_scale_cancels_and_a_shift_does_not() -> None:
    model, x = network("vectors")
    layer: Any = Rig(model, x, RMSNorm(epsilon=1e-300)).net.module[0].normalization  # type: ignore[union-attr,index]
    z = model[0](x)
    torch.testing.assert_close(layer(3 * z), layer(z), rtol=0, atol=1e-13)
    assert not torch.allclose(layer(z + 1), layer(z), atol=0.1)
