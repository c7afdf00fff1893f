"""DropBlock against the paper's algorithm written out with loops, over all patterns of blocks, and a step by hand."""

from __future__ import annotations

import itertools
import math
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from equipoise import techniques as T
from equipoise.data import Data
from equipoise.errors import EquipoiseError

from ..models_of_users import Cnn, mlp
from ..noise_support import SIGMAS, Enumerated, Noisy, OneStep, assert_uncorrelated, at, bound, noise, site

_CONV = {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}


def place(axes: int) -> Any:
    return site(_CONV[axes](1, 1, 1), "conv")


def algorithm_1(x: Tensor, starts: Tensor) -> Tensor:
    """The paper's algorithm on one example (C, …): a block of side s at every start, then count(M)/count_ones(M)."""
    lengths, corners = x.shape[1:], starts.shape[1:]
    s = lengths[0] - corners[0] + 1
    mask = torch.ones_like(x)
    for c, *corner in itertools.product(range(len(x)), *map(range, corners)):
        if starts[(c, *corner)]:
            for offset in itertools.product(range(s), repeat=len(corner)):
                mask[(c, *(a + o for a, o in zip(corner, offset, strict=True)))] = 0
    ones = mask.sum()
    return x * mask * (mask.numel() / ones) if ones else torch.zeros_like(x)


@pytest.mark.parametrize(
    ("shape", "side", "corners"),
    [((2, 5, 4), 3, (3, 2)), ((1, 4, 5), 2, (3, 4)), ((2, 7), 3, (5,)), ((1, 3, 4, 3), 2, (2, 3, 2)),
     ((3, 2, 3), 7, (1, 2)), ((1, 3, 4), 1, (3, 4))],
)  # fmt: skip
def test_every_pattern_of_blocks(shape: tuple[int, ...], side: int, corners: tuple[int, ...]):
    x = torch.randn(shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    n = shape[0] * math.prod(corners)
    every, p = Enumerated(n), 0.2
    out = bound(T.DropBlock(p, side, "none")).act(x.expand(2**n, *shape), at(place(len(shape) - 1), every))
    starts = every.outcomes.view(2**n, shape[0], *corners)
    some = range(0, 2**n, max(1, 2**n // 200))
    for i in [*some, 2**n - 1]:
        torch.testing.assert_close(out[i], algorithm_1(x, starts[i]), rtol=1e-13, atol=1e-13)
    s = min(side, *shape[1:])
    gamma = p / s ** len(corners) * math.prod(shape[1:]) / math.prod(m - s + 1 for m in shape[1:])
    assert float(every.weights[0]) == pytest.approx((1 - gamma) ** n, rel=1e-12)
    # what is kept is scaled so that a map of ones keeps its sum, unless nothing is left
    ones = bound(T.DropBlock(p, side, "none")).act(torch.ones(2**n, *shape), at(place(len(shape) - 1), Enumerated(n)))
    total = ones.flatten(1).sum(1)
    assert ((total - math.prod(shape)).abs() < 1e-3).logical_or(total == 0).all()


def test_the_share_dropped_is_close_to_p_and_never_more():
    """An isolated block of side s drops s^d positions and γ·corners·s^d = p·positions; overlaps take a little away."""
    x = torch.ones(4000, 2, 12, 12)
    for p, side in ((0.05, 3), (0.2, 3), (0.1, 5)):
        share = (bound(T.DropBlock(p, side, "none")).act(x, at(place(2), noise())) == 0).double().mean((1, 2, 3))
        se = float(share.std()) / math.sqrt(len(share))
        gamma = p * 144 / (side**2 * (13 - side) ** 2)
        covering = torch.tensor([min(i, 11, 12 - side) - max(0, i - side + 1) + 1 for i in range(12)]).double()
        exact = float((1 - (1 - gamma) ** torch.outer(covering, covering)).mean())
        assert abs(float(share.mean()) - exact) < SIGMAS * se and 0.8 * p < exact < p


def test_channels_and_examples_have_blocks_of_their_own():
    dropped = bound(T.DropBlock(0.3, 3, "none")).act(torch.ones(4000, 2, 6, 6), at(place(2), noise())) == 0
    assert_uncorrelated(dropped[:, 0, 3, 3], dropped[:, 1, 3, 3])
    assert_uncorrelated(dropped[1:, 0, 3, 3], dropped[:-1, 0, 3, 3])
    assert torch.corrcoef(torch.stack([dropped[:, 0, 2, 2].double(), dropped[:, 0, 2, 3].double()]))[0, 1] > 0.4


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_off_is_the_identity_bit_for_bit(dtype: torch.dtype):
    x = torch.randn(5, 7, 9, 9, generator=torch.Generator().manual_seed(0)).to(dtype).requires_grad_()
    for seen in (noise(), None):
        out = bound(T.DropBlock(0, ramp="none")).act(x, at(place(2), seen))
        assert torch.equal(out, x) and out.dtype == dtype
    assert torch.equal(bound(T.DropBlock(0.5)).act(x, at(place(2), None)), x)
    out = bound(T.DropBlock(0, ramp="none")).act(x, at(place(2), noise()))
    assert torch.equal(torch.autograd.grad(out.sum(), x)[0], torch.ones_like(x))


def test_the_share_rises_linearly_in_training_and_is_whole_in_samples():
    x = torch.ones(2000, 2, 9, 9)
    t = bound(T.DropBlock(0.2, 3))
    steps = [torch.tensor(s, dtype=torch.float64) for s in (0.0, 25.0, 100.0)]
    for step in steps:
        here = at(place(2), noise())._replace(t=step, steps=steps[-1])
        fixed = bound(T.DropBlock(0.2 * float(step) / 100, 3, "none"))
        assert torch.equal(t.act(x, here), fixed.act(x, at(place(2), noise())))
    sample, whole = (k.act(x, at(place(2), noise(), False)) for k in (t, bound(T.DropBlock(0.2, 3, "none"))))
    assert torch.equal(sample, whole)


def test_bfloat16_counts_exactly():
    """Of 16,384 positions bfloat16 could tell only every 64th apart."""
    x = torch.ones(3, 4, 64, 64, dtype=torch.bfloat16)
    out = bound(T.DropBlock(0.1, 5, "none")).act(x, at(place(2), noise()))
    for row in out:
        exact = torch.tensor(row.numel() / int((row != 0).sum())).bfloat16()
        assert torch.equal(row[row != 0].unique(), exact[None])


def test_it_arrives_in_a_training_step(images: Data):
    step = OneStep(Cnn, images, T.DropBlock(0.3, 3, "none"))

    def forward(p: Any) -> Tensor:
        h = F.relu(F.conv2d(step.standardized, p["c1.weight"], p["c1.bias"]))
        starts = step.noise(1).bernoulli((len(h), 4, 4, 4), 0.3 / 9 * 36 / 16)
        h = torch.stack([algorithm_1(v, s) for v, s in zip(h, starts, strict=True)])
        h = F.relu(F.conv2d(h, p["c2.weight"], p["c2.bias"]))
        return F.linear(h.flatten(1), p["fc.weight"], p["fc.bias"])

    step.assert_follows(forward)


def test_where_and_what_is_refused():
    acting = lambda w: [s.name for s in Noisy(Cnn(), torch.randn(4, 2, 8, 8), T.DropBlock(where=w)).net.sites if s.acts]  # noqa: E731
    assert acting("all") == ["c2"] and acting("c*") == ["c1", "c2"]
    with pytest.raises(EquipoiseError, match="fc is linear, its inputs are no maps"):
        acting("fc")
    with pytest.raises(EquipoiseError, match="finds no site"):
        Noisy(mlp(), torch.randn(4, 6), T.DropBlock())
    for side in (0, 2.5, True, "7"):
        with pytest.raises(EquipoiseError, match="side is the edge of a block"):
            T.DropBlock(side=side)  # type: ignore[arg-type]
