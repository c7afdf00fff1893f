"""Augmentations against Kornia on 512×3×32×32: from stored bytes to augmented floats, as a step needs them."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from typing import Any

import torch
from cases import DEVICE
from timing import against, times
from torch import Tensor

from equipoise import techniques as T
from equipoise.rng import source
from equipoise.technique import At, Batch, Technique
from equipoise.techniques.augmentation._moving import move_together

SHAPE = (512, 3, 32, 32)


def ours(entries: Sequence[Technique], x: Tensor) -> Callable[[], Tensor]:
    """Bytes → the entries in turn, neighbours that only move pixels together → floats."""
    w = torch.ones(len(x), device=DEVICE)
    y = torch.eye(10, device=DEVICE)[torch.arange(len(x), device=DEVICE) % 10]
    told = []
    for i, t in enumerate(entries):
        learned = {k: v.to(DEVICE, torch.float32) for k, v in t.fit(x, w, None).items()}  # type: ignore[arg-type]
        knobs = {k: torch.tensor(v, dtype=torch.float64, device=DEVICE) for k, v in t.knobs().items()}
        share = torch.tensor(0.7, device=DEVICE) if t.host_draws else None
        told.append((t.bind(knobs), At(noise=source(i, "speed"), fitted=learned, host=share, training=True)))

    def run() -> Tensor:
        fresh = [(t, at._replace(noise=copy.copy(at.noise))) for t, at in told]
        batch = Batch(x, y, w)
        if hasattr(fresh[0][0], "together"):
            return move_together(batch, fresh).x.float()
        batch = batch._replace(x=x.float())
        for t, at in fresh:
            batch = t.batch(batch, at)
        return batch.x

    return run


def kornia(module: Any, x: Tensor, scale: bool = False) -> Callable[[], Tensor]:
    """Bytes → floats (in [0, 1] where the module asks for it) → the module."""
    return lambda: module(x.float() / 255 if scale else x.float())


def pairs(x: Tensor) -> dict[str, tuple[dict[str, Callable[[], Any]], str]]:
    import kornia.augmentation as K

    labels = torch.arange(len(x), device=DEVICE) % 10
    mix = K.RandomMixUpV2(p=1.0, data_keys=["input", "class"])
    cut = K.RandomErasing(p=1.0, scale=(0.25, 0.25), ratio=(1.0, 1.0))
    flip_crop = torch.nn.Sequential(K.RandomHorizontalFlip(p=0.5), K.RandomCrop((32, 32), padding=4, p=1.0))
    jitter = K.ColorJitter(0.2, 0.2, 0.2, 0.05, p=1.0)
    affine = K.RandomAffine(10.0, translate=(0.0625, 0.0625), padding_mode="border", p=1.0)
    crops = {f"ours, {f} fill": [T.FlipHorizontal(0.5), T.RandomCrop(0.125, fill=f)] for f in ("zero", "mean", "edge")}
    return {
        "crop and flip": ({"Kornia": kornia(flip_crop, x), **{k: ours(v, x) for k, v in crops.items()}}, "Kornia"),
        "jitter": ({"Kornia": kornia(jitter, x, True), "ours": ours([T.ColorJitter()], x)}, "Kornia"),
        "cutout": ({"Kornia": kornia(cut, x), "ours": ours([T.Cutout(0.5)], x)}, "Kornia"),
        "affine": ({"Kornia": kornia(affine, x), "ours": ours([T.RandomAffine()], x)}, "Kornia"),
        "mixup": ({"Kornia": lambda: mix(x.float(), labels), "ours": ours([T.MixUp(0.2)], x)}, "Kornia"),
    }


def measure(blocks: int, seconds: float) -> dict[str, Any]:
    torch.set_num_threads(1)
    x = torch.randint(0, 256, SHAPE, dtype=torch.uint8, generator=torch.Generator().manual_seed(0)).to(DEVICE)
    torch.manual_seed(0)
    try:
        cases = pairs(x)
    except ImportError as e:
        return {"not measured": {"Kornia": str(e)}, "lines": {}}
    with torch.no_grad():
        return {"shape": SHAPE, "lines": {k: against(times(f, blocks, seconds), a) for k, (f, a) in cases.items()}}
