"""What many tests share: small data and networks."""

from __future__ import annotations

import pytest
import torch

from equipoise.data import Data


def _features(n: int, width: int) -> torch.Tensor:
    return torch.randn(n, width, generator=torch.Generator().manual_seed(7))


@pytest.fixture(scope="session")
def table() -> Data:
    """200 rows of 6 standard normal features in 3 classes that depend on them."""
    x = _features(200, 6)
    y = (x @ torch.tensor([1.0, -1.0, 0.5, 0.0, 0.0, 2.0])).mul(0.8).round().clamp(-1, 1).long() + 1
    return Data(x, y, name="table")


@pytest.fixture(scope="session")
def targets() -> Data:
    """200 rows of 6 features with two real targets."""
    x = _features(200, 6)
    return Data(x, torch.stack([x[:, 0] + x[:, 1] ** 2, 3 * x[:, 2] + 10], 1), task="regress", name="targets")


@pytest.fixture(scope="session")
def images() -> Data:
    """120 images 2×8×8 in 3 classes: a bright patch left, right or nowhere."""
    g = torch.Generator().manual_seed(3)
    x = torch.rand(120, 2, 8, 8, generator=g)
    y = torch.arange(120) % 3
    x[y == 0, :, 2:6, 0:4] += 1.0
    x[y == 1, :, 2:6, 4:8] += 1.0
    return Data(x, y, name="images", preserves=("flip_vertical", "flip_horizontal"))


@pytest.fixture(scope="session")
def sequences() -> Data:
    """120 sequences of 5 steps with 4 features in 2 classes: the sign of the first feature's sum."""
    x = torch.randn(120, 5, 4, generator=torch.Generator().manual_seed(5))
    return Data(x, (x[:, :, 0].sum(1) > 0).long(), kind="sequence", name="sequences")
