"""ChannelMean against NumPy, and its refusal."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from equipoise import techniques as T
from equipoise.data import Data
from equipoise.errors import EquipoiseError

from ..preparing import check_predictions_read_prepared_rows, fitted, prepared


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32])
@pytest.mark.parametrize("shape", [(50, 3, 6, 5), (50, 2, 3, 4, 5)])
def test_one_mean_per_channel_and_no_scaling(shape: tuple[int, ...], dtype: torch.dtype) -> None:
    x = torch.randint(0, 256, shape, generator=torch.Generator().manual_seed(1)).to(dtype)
    a = x.numpy().astype(np.float64)
    axes = (0, *range(2, a.ndim))
    np.testing.assert_allclose(prepared(T.ChannelMean(), x), a - a.mean(axes, keepdims=True), atol=1e-9)
    assert fitted(T.ChannelMean(), x)["mean0"].numel() == shape[1]


def test_inputs_that_are_no_images_pass() -> None:
    x = (torch.ones(5, 2, 3, 3), torch.ones(5, 4), torch.ones(5, 3, dtype=torch.int64))
    got = prepared(T.ChannelMean(), x)
    assert not got[0].any() and torch.equal(got[1], x[1].double()) and got[2] is x[2]


def test_a_table_is_refused() -> None:
    with pytest.raises(EquipoiseError, match=r"ChannelMean\(\) is for images"):
        fitted(T.ChannelMean(), torch.ones(5, 4))


def test_a_run_reads_centred_images(images: Data) -> None:
    check_predictions_read_prepared_rows(T.ChannelMean(), images)
