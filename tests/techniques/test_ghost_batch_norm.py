"""GhostBatchNorm against PyTorch's batch norm shown the ghosts one after the other."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

import equipoise as eq
from equipoise.errors import EquipoiseError
from equipoise.techniques.normalization.batch_norm import BatchNorm
from equipoise.techniques.normalization.ghost_batch_norm import GhostBatchNorm

from ..rig import Rig
from .norm_support import (
    LAST,
    MAPS,
    C,
    Flat,
    assert_equals_torch,
    assert_half_precision_is_close,
    assert_off_is_plain,
    assert_stacked_equals_alone,
    loss,
    network,
)


class InGhosts(nn.Module):
    """PyTorch's layer applied to each piece in turn; `torch.tensor_split` cuts into equal sizes to one row."""

    def __init__(self, norm: nn.Module, size: int) -> None:
        super().__init__()
        self.norm, self.size = norm, size

    def forward(self, z: Tensor) -> Tensor:
        if not self.training:
            return self.norm(z)
        return torch.cat([self.norm(g) for g in z.tensor_split(max(len(z) // self.size, 1))])


@pytest.mark.parametrize("size", [2, 3, 4, 64])
@pytest.mark.parametrize("affine", [True, False])
@pytest.mark.parametrize("kind", MAPS)
def test_equals_torch_over_several_steps(kind: str, affine: bool, size: int) -> None:
    layers = {"conv2d": nn.BatchNorm2d, "circular": nn.BatchNorm2d, "conv3d": nn.BatchNorm3d}
    norm = layers.get(kind, nn.BatchNorm1d)(C, affine=affine, momentum=0.3).double()
    theirs: Any = InGhosts(Flat(norm) if kind in LAST else norm, size)
    theirs.named_parameters = norm.named_parameters
    rig, _ = assert_equals_torch(GhostBatchNorm(size, affine=affine, momentum=0.3), kind, theirs, bias=False)
    for name in ("running_mean", "running_var"):
        torch.testing.assert_close(rig.buffers[f"0.normalization.{name}"], getattr(norm, name), rtol=0, atol=1e-10)


def test_one_ghost_is_batch_norm() -> None:
    model, x = network("conv2d")
    ghost, whole = Rig(model, x, GhostBatchNorm(3)), Rig(model, x, BatchNorm())  # 5 rows: one ghost
    assert torch.equal(ghost(x), whole(x))
    torch.testing.assert_close(ghost.buffers, whole.buffers, rtol=0, atol=1e-15)


def test_how_far_one_pass_moves_the_running_averages() -> None:
    """Ghosts that are alike move them by 1 − (1 − a)^updates of the way to their statistics."""
    model, x = network("vectors")
    rig = Rig(model, x, GhostBatchNorm(3, momentum=0.2))
    layer: Any = rig.net.module[0].normalization  # type: ignore[union-attr,index]
    rig.buffers["0.normalization.running_mean"] = torch.zeros(C, dtype=x.dtype)
    rig(x[:3].repeat(3, 1))
    assert layer.updates(9) == 3 and layer.updates(2) == 1
    mean = (x[:3] @ model[0].weight.T).mean(0)
    torch.testing.assert_close(rig.buffers["0.normalization.running_mean"], (1 - 0.8**3) * mean, rtol=0, atol=1e-14)


@pytest.mark.parametrize("kind", ["vectors", "sequences", "conv2d"])
def test_ways_of_running_agree(kind: str) -> None:
    assert_stacked_equals_alone(GhostBatchNorm(2), kind)
    assert_off_is_plain(GhostBatchNorm(2), kind)
    assert_half_precision_is_close(GhostBatchNorm(4), "vectors")


@pytest.mark.parametrize("options", [{}, {"units": (1, 5)}, {"w": 0.3}])
@pytest.mark.parametrize("kind", ["vectors", "conv2d"])
def test_folding_is_exact(kind: str, options: dict[str, Any]) -> None:
    model, x = network(kind)
    rig = Rig(model, x, GhostBatchNorm(2, **options))
    for step in range(3):
        rig.descend(x * (1 + 0.2 * step), loss)
    plain, notes = rig.folded()
    assert not notes and list(plain.state_dict()) == list(model.state_dict())
    torch.testing.assert_close(plain(x), rig(x, training=False), rtol=0, atol=1e-12)


def test_trains_where_the_last_batch_is_odd(table: Any) -> None:
    run = eq.train(
        "mlp(hidden=(8,))", eq.Recipe(GhostBatchNorm(8), eq.techniques.Adam(0.02)), table, epochs=4, batch_size=32
    )
    assert run.history[-1]["stop_loss"] < run.history[0]["stop_loss"]


@pytest.mark.parametrize("size", [1, 2.0, True, "32"])
def test_refusals(size: Any) -> None:
    with pytest.raises(EquipoiseError, match="size, the rows of a ghost, is a whole number from 2 up"):
        GhostBatchNorm(size)
