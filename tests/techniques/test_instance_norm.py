"""InstanceNorm against nn.InstanceNorm1d to 3d."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from equipoise.errors import EquipoiseError
from equipoise.techniques.normalization.instance_norm import InstanceNorm

from ..rig import Rig
from .norm_support import (
    LAST,
    SPREAD,
    C,
    Second,
    assert_equals_torch,
    assert_half_precision_is_close,
    assert_kept_on_export,
    assert_off_is_plain,
    assert_stacked_equals_alone,
    loss,
    network,
)

LAYERS = {
    "conv2d": nn.InstanceNorm2d, "circular": nn.InstanceNorm2d, "conv3d": nn.InstanceNorm3d,
    "images, channels last": nn.InstanceNorm2d,
}  # fmt: skip


@pytest.mark.parametrize("affine", [True, False])
@pytest.mark.parametrize("kind", SPREAD)
def test_equals_torch_over_several_steps(kind: str, affine: bool) -> None:
    """PyTorch's map has no bias, ours is held: it cancels."""
    norm = LAYERS.get(kind, nn.InstanceNorm1d)(C, affine=affine)
    assert_equals_torch(InstanceNorm(affine=affine), kind, Second(norm) if kind in LAST else norm, bias=False)


def test_the_gate_lets_the_bias_through() -> None:
    model, x = network("conv2d")
    rig = Rig(model, x, InstanceNorm(w=0.25))
    z = nn.functional.conv2d(x, model[0].weight, 0.75 * model[0].bias, 2, 1, groups=2)  # type: ignore[operator]
    u = nn.functional.instance_norm(z)
    torch.testing.assert_close(rig(x), model[2](model[1](0.25 * u + 0.75 * z)), rtol=0, atol=1e-12)
    assert bool((rig.gradients(x, loss)["0.bias"] != 0).all())


@pytest.mark.parametrize("kind", ["sequences", "conv1d", "conv2d"])
def test_ways_of_running_agree(kind: str) -> None:
    assert_stacked_equals_alone(InstanceNorm(), kind)
    assert_off_is_plain(InstanceNorm(), kind)
    assert_half_precision_is_close(InstanceNorm(), kind)


@pytest.mark.parametrize("options", [{}, {"w": 0.3}, {"units": (1, 5)}])
@pytest.mark.parametrize("kind", ["sequences", "conv2d"])
def test_is_kept_on_export(kind: str, options: dict[str, Any]) -> None:
    assert_kept_on_export(InstanceNorm(**options), kind)


def test_vectors_have_no_positions() -> None:
    """A single position is its own mean: such sites are left alone, and refused where they are named."""
    model = nn.Sequential(nn.Conv2d(1, 3, 2), nn.ReLU(), nn.Flatten(), nn.Linear(12, 4), nn.ReLU(), nn.Linear(4, 2))
    x = torch.randn(4, 1, 3, 3)
    rig = Rig(model, x, InstanceNorm())
    assert [s.norm_by for s in rig.net.sites] == ["InstanceNorm/all", None, None]
    assert "InstanceNorm leaves 3 alone: its output has one position, which is its own mean." in rig.net.notes
    with pytest.raises(EquipoiseError, match="3: its output has one position"):
        Rig(model, x, InstanceNorm(where="3"))
    with pytest.raises(EquipoiseError, match=r"finds no site to normalize.*one position"):
        Rig(*network("vectors"), InstanceNorm())
