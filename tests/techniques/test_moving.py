"""Augmentations that only move pixels: beside each other they act as one gather, to the bits of one after the other."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.fx.experimental.proxy_tensor import make_fx

from equipoise import techniques as T
from equipoise.data import Data
from equipoise.feed import fit_preparation
from equipoise.objective import neighbours
from equipoise.plan import Member, Options, group
from equipoise.programs import make_program
from equipoise.recipe import resolve
from equipoise.rng import source
from equipoise.sites.network import WHOLE
from equipoise.technique import At, Batch, Technique
from equipoise.techniques.augmentation._moving import move_together

from ..image_support import photos
from ..noise_support import bound

CROPS = [T.RandomCrop(0.25, fill=fill) for fill in ("mean", "zero", "edge", "reflect")]


def told(entries: list[Technique], fit: Any) -> list[tuple[Technique, At]]:
    learned = [{k: v.float() for k, v in t.fit(fit, torch.zeros(4), None).items()} for t in entries]  # type: ignore[arg-type]
    each = enumerate(zip(entries, learned, strict=True))
    return [(bound(t), At(noise=source(i, "moving"), fitted=f, training=True)) for i, (t, f) in each]


def batch_of(x: Any) -> Batch:
    ones = torch.ones(len(x[0] if isinstance(x, tuple) else x))
    return Batch(x, ones[:, None], ones)


def one_after_the_other(x: Any, movers: list[tuple[Technique, At]]) -> Any:
    for t, at in movers:
        x = t.batch(batch_of(x), at).x
    return x


@pytest.mark.parametrize("crop", CROPS, ids=lambda t: t.fill)
@pytest.mark.parametrize("first", [True, False], ids=["crop first", "flips first"])
def test_together_is_one_after_the_other(crop: Technique, first: bool):
    flips = [T.FlipHorizontal(0.5), T.FlipVertical(0.5)]
    x = photos(40, 3, 8, 12, torch.float32)
    movers = told([crop, *flips] if first else [*flips, crop], x + 1)
    assert torch.equal(move_together(batch_of(x), movers).x, one_after_the_other(x, movers))


@pytest.mark.parametrize("crop", CROPS, ids=lambda t: t.fill)
def test_bytes_move_as_their_numbers_do(crop: Technique):
    """Every input of an example alike; bytes stay bytes unless the fill is a mean."""
    x = photos(40, 3, 8, 12, torch.float32).to(torch.uint8)
    movers = told([T.FlipHorizontal(0.5), crop], (x, x))
    numbers, table = torch.rand(40, 2), x[:, 0, 0]
    moved, again, left = move_together(batch_of((x, x, table)), movers).x
    assert torch.equal(moved.float(), move_together(batch_of((x.float(), x.float(), numbers)), movers).x[0])
    assert torch.equal(moved, again) and left is table
    assert moved.dtype == (torch.float32 if crop.fill == "mean" else torch.uint8)  # type: ignore[attr-defined]


def test_only_what_stands_side_by_side_acts_together():
    entries = [T.FlipHorizontal(), T.RandomCrop(), T.Cutout(), T.FlipVertical()]
    found = neighbours(entries)
    assert [keys for keys, _ in found] == [["FlipHorizontal", "RandomCrop"], ["Cutout"], ["FlipVertical"]]
    assert [how is move_together for _, how in found] == [True, False, True]


def test_a_step_moves_bytes_once():
    """In the traced input stages of a real program one gather takes all pixels, and takes them as bytes."""
    x = photos(90, 3, 8, 8, torch.float32).to(torch.uint8)
    data = Data(x, torch.arange(90) % 3, name="photos", preserves=("flip_horizontal",))
    member = Member(resolve((T.FlipHorizontal(), T.RandomCrop()), data.task), 3)
    [(shared, _)] = group([member])
    p = make_program(lambda: nn.Sequential(nn.Flatten(), nn.Linear(192, 3)), shared, member, data, Options())
    fitted = fit_preparation(member.techniques, data, data.rows["fit"], p.dtype)
    techniques, y, w = p.bind(p.knobs(member.techniques)), data.y[:16], torch.ones(16)

    def inputs(x: Tensor, keys: Tensor) -> Tensor:
        at = lambda key: At(p.net, noise=p.noise(keys)(key, WHOLE, 0), fitted=fitted.get(key, {}), training=True)  # noqa: E731
        return p.objective.transform(p.objective.batch(x, y, w, p.dtype), techniques, fitted, at).x

    rows, keys = x[:16], p.keys([3], torch.arange(1))[0, 0]
    graph = make_fx(inputs, _allow_non_fake_inputs=True, tracing_mode="fake")(rows, keys)
    taken = [n.args[0].meta["val"] for n in graph.graph.nodes if n.target is torch.ops.aten.gather.default]  # type: ignore[union-attr]
    assert [v.dtype for v in taken if v.numel() == rows.numel()] == [torch.uint8]
    assert graph(rows, keys).dtype == torch.float32
