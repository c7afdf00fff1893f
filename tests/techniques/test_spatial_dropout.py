"""SpatialDropout against exact enumeration over channels, torch's Dropout2d, and a step computed by hand."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from equipoise import techniques as T
from equipoise.data import Data
from equipoise.errors import EquipoiseError

from ..models_of_users import Cnn, Lstm, Transformer, mlp
from ..noise_support import Enumerated, Noisy, OneStep, assert_moments, assert_uncorrelated, at, bound, noise, site

CONV = site(nn.Conv2d(10, 2, 3), "conv")
MAPS = torch.randn(10, 3, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


@pytest.mark.parametrize("p", [0.5, 0.2])
def test_moments_over_all_1024_masks_of_ten_channels(p: float):
    t, every = bound(T.SpatialDropout(p)), Enumerated(10)
    out = t.act(MAPS.expand(1024, 10, 3, 4), at(CONV, every))
    mean, variance = every.moments(out)
    torch.testing.assert_close(mean, MAPS, rtol=1e-12, atol=0)
    torch.testing.assert_close(variance, p / (1 - p) * MAPS**2, rtol=1e-10, atol=0)
    torch.testing.assert_close(out, MAPS / (1 - p) * every.outcomes[:, :, None, None], rtol=1e-14, atol=0)
    assert torch.equal(t.act(MAPS[None], at(CONV, None)), MAPS[None])


def test_drawn_masks_are_those_of_dropout2d_in_law():
    x = torch.ones(5000, 10, 3, 4, dtype=torch.float64)
    ours = bound(T.SpatialDropout(0.3)).act(x, at(CONV, noise()))
    torch.manual_seed(0)
    theirs = F.dropout2d(x, 0.3)
    for out in (ours, theirs):
        assert torch.equal(out, out[:, :, :1, :1].expand_as(out)), "a whole map at a time"
        torch.testing.assert_close(out.unique(), torch.tensor([0, 1 / 0.7], dtype=torch.float64))
        assert_moments(out[:, :, 0, 0], torch.ones(10), 0.3 / 0.7 * torch.ones(10))
    assert_uncorrelated(ours[:, 0, 0, 0], ours[:, 1, 0, 0])
    assert_uncorrelated(ours[1:, :, 0, 0], ours[:-1, :, 0, 0])


@pytest.mark.parametrize(
    ("module", "kind", "shape", "constant"),
    [(nn.Linear(4, 2), "linear", (50, 7, 4), 1), (nn.LSTM(4, 2, batch_first=True), "recurrent", (50, 7, 4), 1),
     (nn.LSTM(4, 2), "recurrent", (7, 50, 4), 0), (nn.Conv1d(4, 2, 3), "conv", (50, 4, 7), 2)],
)  # fmt: skip
def test_one_draw_per_row_and_feature(module: nn.Module, kind: str, shape: tuple[int, ...], constant: int):
    out = bound(T.SpatialDropout(0.5)).act(torch.ones(shape), at(site(module, kind), noise()))
    first = out.select(constant, 0)
    assert torch.equal(out, first.unsqueeze(constant).expand_as(out))
    assert set(first.unique().tolist()) == {0.0, 2.0} and first.numel() == 200
    assert torch.linalg.matrix_rank(first) == 4, "rows and features have draws of their own"


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_off_is_the_identity_bit_for_bit(dtype: torch.dtype):
    x = MAPS.expand(6, 10, 3, 4).to(dtype).requires_grad_()
    out = bound(T.SpatialDropout(0)).act(x, at(CONV, noise()))
    assert torch.equal(out, x) and out.dtype == dtype
    assert torch.equal(torch.autograd.grad(out.sum(), x)[0], torch.ones_like(x))


def test_it_arrives_in_a_training_step(images: Data):
    step = OneStep(Cnn, images, T.SpatialDropout(0.4))

    def forward(p: Any) -> Tensor:
        h = F.relu(F.conv2d(step.standardized, p["c1.weight"], p["c1.bias"]))
        keep = step.noise(1).bernoulli((len(h), 4, 1, 1), 0.6)
        h = F.relu(F.conv2d(h * keep / 0.6, p["c2.weight"], p["c2.bias"]))
        return F.linear(h.flatten(1), p["fc.weight"], p["fc.bias"])

    step.assert_follows(forward)


def test_where():
    acting = lambda m, x, w: [s.name for s in Noisy(m, x, T.SpatialDropout(where=w)).net.sites if s.acts]  # noqa: E731
    pictures, times = torch.randn(4, 2, 8, 8), torch.randn(4, 5, 4)
    assert acting(Cnn(), pictures, "all") == ["c2"] and acting(Cnn(), pictures, ["c1", "fc"]) == ["c1", "fc"]
    assert acting(Lstm(), times, "*") == ["rnn", "fc"]
    assert "fc" not in acting(Transformer(), times, "all")
    with pytest.raises(EquipoiseError, match="finds no site"):
        Noisy(mlp(), torch.randn(4, 6), T.SpatialDropout())
