"""MinMax against scikit-learn, beyond the range it has seen, and on constant features."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.preprocessing import MinMaxScaler

from equipoise import techniques as T
from equipoise.data import Data
from equipoise.errors import EquipoiseError

from ..preparing import check_predictions_read_prepared_rows, fitted, prepared


def random(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(2))


@pytest.mark.parametrize("low", [0.0, -1.0])
@pytest.mark.parametrize("clip", [False, True])
def test_a_table_as_scikit_learn_does(low: float, clip: bool) -> None:
    x = random(200, 4) * torch.tensor([1.0, 1e3, 1e-3, 0.0]) + 5
    new = random(100, 4) * torch.tensor([3.0, 3e3, 3e-3, 2.0]) + 5
    reference = MinMaxScaler((low, 1), clip=clip).fit(x.double().numpy())
    got = prepared(T.MinMax(low, clip), x, new)
    np.testing.assert_allclose(got, reference.transform(new.double().numpy()), rtol=1e-9, atol=1e-9)
    assert bool(((got < low) | (got > 1)).any()) is not clip  # new rows do leave the range
    seen = prepared(T.MinMax(low, clip), x)
    assert seen.min() == low and seen.max() == 1 and (seen[:, 3] == low).all()


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32])
def test_images_per_channel(dtype: torch.dtype) -> None:
    x = torch.randint(3, 200, (30, 2, 4, 4), generator=torch.Generator().manual_seed(1))
    x[:, 1] //= 4
    got = prepared(T.MinMax(), x.to(dtype))
    assert got.amin((0, 2, 3)).tolist() == [0, 0] and got.amax((0, 2, 3)).tolist() == [1, 1]


def test_sequences_per_feature_and_tokens_pass() -> None:
    x = (random(20, 6, 3), torch.arange(40).view(20, 2))
    got = prepared(T.MinMax(-1), x)
    assert got[0].amin((0, 1)).tolist() == [-1] * 3 and got[0].amax((0, 1)).tolist() == [1] * 3 and got[1] is x[1]


def test_data_that_are_tokens_alone_are_refused() -> None:
    with pytest.raises(EquipoiseError, match=r"MinMax\(\) is for numbers"):
        fitted(T.MinMax(), torch.arange(12).view(4, 3))


def test_another_range_is_refused() -> None:
    with pytest.raises(EquipoiseError, match=r"MinMax\(low=0.5\)"):
        T.MinMax(0.5)


def test_a_run_reads_scaled_images(images: Data) -> None:
    check_predictions_read_prepared_rows(T.MinMax(-1, clip=True), images)
