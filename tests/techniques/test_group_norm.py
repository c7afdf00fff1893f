"""GroupNorm against nn.GroupNorm; how many groups are used where the number asked for does not fit."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from equipoise.errors import EquipoiseError
from equipoise.techniques.normalization.group_norm import GroupNorm

from ..rig import Rig
from .norm_support import (
    F64,
    LAST,
    MAPS,
    C,
    Flat,
    assert_equals_torch,
    assert_half_precision_is_close,
    assert_kept_on_export,
    assert_off_is_plain,
    assert_stacked_equals_alone,
    loss,
    network,
)


@pytest.mark.parametrize("affine", [True, False])
@pytest.mark.parametrize("kind", MAPS)
def test_equals_torch_over_several_steps(kind: str, affine: bool) -> None:
    norm = nn.GroupNorm(3, C, affine=affine)
    assert_equals_torch(GroupNorm(3, affine=affine), kind, Flat(norm) if kind in LAST else norm, bias=True)


@pytest.mark.parametrize(
    ("model", "shape", "groups", "used"),
    [
        (nn.Linear(4, 6), (2, 4), 32, 3),  # 6 groups would leave one value in each
        (nn.Linear(4, 6), (2, 4), 4, 3),
        (nn.Linear(4, 7), (2, 4), 32, 1),
        (nn.Linear(4, 8), (2, 5, 4), 8, 4),  # positions behind a Linear stand alone
        (nn.Conv2d(1, 6, 2), (2, 1, 3, 3), 32, 6),
        (nn.Conv2d(1, 6, 3), (2, 1, 3, 3), 32, 3),  # one position
        (nn.Conv1d(1, 10, 2), (2, 1, 5), 4, 2),
    ],
)  # fmt: skip
def test_the_number_of_groups_fits_the_site(model: nn.Module, shape: tuple[int, ...], groups: int, used: int) -> None:
    x = torch.randn(shape)
    rig = Rig(nn.Sequential(model, nn.Flatten(), nn.Linear(model(x)[0].numel(), 2)), x, GroupNorm(groups))
    layer: Any = rig.net.module[0].normalization  # type: ignore[union-attr,index]
    assert layer.groups == used
    assert any(f"uses {used} group" in n for n in rig.net.notes) == (used != groups)
    torch.testing.assert_close(layer(model(x)).isfinite().all(), torch.tensor(True))


def test_a_map_of_one_unit_is_left_alone() -> None:
    model = nn.Sequential(nn.Linear(3, 1), nn.Tanh(), nn.Linear(1, 4), nn.Tanh(), nn.Linear(4, 2))
    rig = Rig(model, torch.randn(5, 3), GroupNorm())
    assert [s.norm_by for s in rig.net.sites] == [None, "GroupNorm/all", None]
    assert "GroupNorm leaves 0 alone: a single value has no variance." in rig.net.notes


def test_the_bias_is_held_only_where_each_channel_is_a_group() -> None:
    """A shift per channel cancels in its own group; among others it does not."""
    model, x = network("conv2d")
    for groups, cancelled in ((6, True), (3, False)):
        rig = Rig(model, x, GroupNorm(groups))
        assert bool(rig.gradients(x, loss)["0.bias"].any()) is not cancelled
        moved = {**rig.params, "0.bias": rig.params["0.bias"] + torch.linspace(0, 5, C, dtype=F64)}
        same = torch.allclose(rig.run(moved, rig.buffers, x)[0], rig(x), rtol=0, atol=1e-12)
        assert same is cancelled


@pytest.mark.parametrize("kind", ["vectors", "sequences", "conv2d"])
def test_ways_of_running_agree(kind: str) -> None:
    assert_stacked_equals_alone(GroupNorm(2), kind)
    assert_off_is_plain(GroupNorm(2), kind)
    assert_half_precision_is_close(GroupNorm(2), kind)


@pytest.mark.parametrize("options", [{}, {"w": 0.3}, {"units": (1, 5)}])
@pytest.mark.parametrize("groups", [2, 6])
def test_is_kept_on_export(groups: int, options: dict[str, Any]) -> None:
    assert_kept_on_export(GroupNorm(groups, **options), "conv2d")


@pytest.mark.parametrize("groups", [0, 2.0, True])
def test_refusals(groups: Any) -> None:
    with pytest.raises(EquipoiseError, match="groups is a whole number"):
        GroupNorm(groups)
