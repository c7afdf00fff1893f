"""MeanImage against NumPy, and its refusal."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from equipoise import techniques as T
from equipoise.data import Data
from equipoise.errors import EquipoiseError

from ..preparing import check_predictions_read_prepared_rows, fitted, prepared


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32])
def test_one_mean_per_pixel_and_no_scaling(dtype: torch.dtype) -> None:
    x = torch.randint(0, 256, (50, 3, 6, 5), generator=torch.Generator().manual_seed(1)).to(dtype)
    new = torch.randint(0, 256, (7, 3, 6, 5), generator=torch.Generator().manual_seed(2)).to(dtype)
    a, b = x.numpy().astype(np.float64), new.numpy().astype(np.float64)
    np.testing.assert_allclose(prepared(T.MeanImage(), x, new), b - a.mean(0), atol=1e-9)
    assert fitted(T.MeanImage(), x)["mean0"].shape == (3, 6, 5)


def test_inputs_that_are_no_images_pass() -> None:
    x = (torch.ones(5, 4), torch.ones(5, 2, 3, 3))
    got = prepared(T.MeanImage(), x)
    assert torch.equal(got[0], x[0].double()) and not got[1].any()


def test_a_sequence_is_refused() -> None:
    with pytest.raises(EquipoiseError, match=r"is for images .*float32 \(4, 2\)"):
        fitted(T.MeanImage(), torch.ones(5, 4, 2))


def test_a_run_reads_centred_images(images: Data) -> None:
    check_predictions_read_prepared_rows(T.MeanImage(), images)
