"""PerInstance against PyTorch's layer and instance normalization and SciPy's z-scores, without ε."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from scipy import stats
from torch import Tensor

import equipoise as eq
from equipoise import techniques as T
from equipoise.data import Data
from equipoise.errors import EquipoiseError

from ..preparing import F64, check_predictions_read_prepared_rows


def random(*shape: int) -> Tensor:
    return torch.randn(*shape, dtype=F64, generator=torch.Generator().manual_seed(2)) * 3 + 40


def test_a_table_by_rows() -> None:
    x = random(20, 7)
    np.testing.assert_allclose(T.PerInstance().prepare(x, {}), stats.zscore(x.numpy(), axis=1), rtol=1e-9)


def test_an_image_over_all_of_it_and_per_channel() -> None:
    x = random(20, 3, 5, 4)
    torch.testing.assert_close(T.PerInstance().prepare(x, {}), F.layer_norm(x, x.shape[1:], eps=1e-300))
    torch.testing.assert_close(T.PerInstance(over="channel").prepare(x, {}), F.instance_norm(x, eps=1e-300))


def test_a_sequence_over_all_of_it_and_per_feature() -> None:
    x = random(20, 6, 3)
    torch.testing.assert_close(T.PerInstance().prepare(x, {}), F.layer_norm(x, x.shape[1:], eps=1e-300))
    per_feature = F.instance_norm(x.movedim(2, 1), eps=1e-300).movedim(1, 2)
    torch.testing.assert_close(T.PerInstance(over="channel").prepare(x, {}), per_feature)


@pytest.mark.parametrize("over", ["all", "channel"])
def test_minmax_spans_0_to_1_in_every_instance(over: str) -> None:
    x = random(20, 3, 5, 4)
    got = T.PerInstance("minmax", over).prepare(x, {}).flatten(1 if over == "all" else 2)
    assert (got.amin(-1) == 0).all() and (got.amax(-1) == 1).all()
    flat = x.flatten(1 if over == "all" else 2)
    np.testing.assert_allclose(got, (flat - flat.amin(-1, True)) / (flat.amax(-1, True) - flat.amin(-1, True)))


@pytest.mark.parametrize("kind", ["standardize", "minmax"])
def test_an_instances_own_level_and_contrast_are_gone(kind: str) -> None:
    x = random(20, 3, 5, 4)
    other = x * torch.linspace(0.1, 50, 20, dtype=F64).view(-1, 1, 1, 1) - 300
    t = T.PerInstance(kind)
    torch.testing.assert_close(t.prepare(other, {}), t.prepare(x, {}))


@pytest.mark.parametrize("kind", ["standardize", "minmax"])
@pytest.mark.parametrize("value", [0.0, 0.1, 255.0, -3e30])
def test_constant_instances_survive(kind: str, value: float) -> None:
    x = torch.randn(4, 1, 28, 28)
    x[1] = value
    got = T.PerInstance(kind).prepare(x, {})
    assert got.isfinite().all() and got[1].abs().max() <= 1e-6 * abs(value) and got[0].abs().max() > 0.5


def test_a_constant_instance_whose_mean_is_rounded_is_not_blown_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """PyTorch's own kernel finds a variance of exactly 0; sums in another order, as in compiled code, do not."""
    real = torch.var_mean

    def rounded(v: Tensor, *args: Any, **kwargs: Any) -> tuple[Tensor, Tensor]:
        var, mean = real(v, *args, **kwargs)
        eps = torch.finfo(v.dtype).eps
        return var + (eps * mean).square(), mean * (1 + eps)

    monkeypatch.setattr(torch, "var_mean", rounded)
    assert T.PerInstance().prepare(torch.full((3, 8), 0.1), {}).abs().max() < 1e-7


def test_differences_too_small_to_square_survive() -> None:
    x = torch.tensor([[1e-30, 2e-30, 3e-30]])
    assert T.PerInstance().prepare(x, {}).isfinite().all()
    torch.testing.assert_close(T.PerInstance("minmax").prepare(x, {}), torch.tensor([[0.0, 0.5, 1.0]]))


def test_bytes_are_numbers_and_tokens_pass() -> None:
    x = (torch.randint(0, 256, (5, 1, 4, 4), dtype=torch.uint8), torch.arange(10).view(5, 2))
    got = T.PerInstance().prepare(x, {})
    assert got[1] is x[1]
    torch.testing.assert_close(got[0], F.layer_norm(x[0].float(), (1, 4, 4), eps=1e-30))


def test_what_it_cannot_do_is_refused() -> None:
    with pytest.raises(EquipoiseError, match="no positions"):
        T.PerInstance(over="channel").prepare(torch.ones(3, 4), {})
    with pytest.raises(EquipoiseError, match="is for numbers"):
        T.PerInstance().prepare(torch.ones(3, 4, dtype=torch.int64), {})


def test_an_instance_alone_is_prepared_as_among_others_in_a_run(images: Data) -> None:
    run = check_predictions_read_prepared_rows(T.PerInstance(), images)
    x = images.select("test")[0]
    assert isinstance(x, Tensor) and not T.PerInstance.fits() and run.const.fitted["PerInstance"] == {}
    np.testing.assert_allclose(run.predict(x)[3:4], run.predict(x[3:4]), atol=1e-6)
    np.testing.assert_allclose(run.predict(x * 9 + 2), run.predict(x), atol=1e-4)
    assert eq.techniques.PerInstance().stages() == ("prepare",)
