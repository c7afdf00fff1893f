from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from ...errors import EquipoiseError
from ...technique import At, Batch, Technique, knob, option
from ._image import box
from ._pairs import PER, beta, draws, mixed


class CutMix(Technique):
    """Paste a box of another image, and mix the targets by the pixels kept.

    x̃ = M ⊙ x_i + (1 − M) ⊙ x_j,  ỹ = κ y_i + (1 − κ) y_j,  κ = mean M, the exact share of pixels kept.
    M is 0 in a box of √(1 − λ) of the height and of the width (in whole pixels), λ ~ Beta(a, a), around a uniformly
    drawn pixel, clipped at the border. The partner j is the row before i in the batch (of the first row the last).

    Knobs: `a` ≥ 0; 0 switches it off (λ = 1, an empty box).
    Options: `per` = "batch" (default: one box a step, as the source) or "pair" (one an example).
    Shapes: prepared images (B, C, H, W), targets (B, C) or (B, T), weights (B,) mixed as the targets; several inputs
        are all images, and κ counts their pixels together; a batch of one mixes with itself.
    Errors: an input that is no image, as it comes or as the preparation leaves it.
    Trade: a variance reducer that keeps the pixels natural; raises training loss; metrics are taken on clean rows.
    Source: Yun et al. (2019), a = 1; deck D1.
    """

    off = {"a": 0.0}
    random = True
    phase = "mixed"
    kinds = ("image",)
    a: float = knob(1.0, low=0.0, high=math.inf, open="high")
    per: str = option("batch", choices=PER)

    @property
    def host_draws(self) -> str:  # pyright: ignore[reportIncompatibleVariableOverride]
        return draws(self.per)

    def fit(self, x: Any, y: Tensor, data: Any) -> dict[str, Tensor]:
        self._images(x)
        return {}

    def host(self, u: Any) -> Any:
        return beta(self.a, u)

    def batch(self, batch: Batch, at: At) -> Batch:
        assert at.noise is not None
        assert at.host is not None
        cut = torch.sqrt(1 - at.host)
        n = 1 if self.per == "batch" else len(batch.y)
        centre = at.noise.uniform((n, 2), shared=self.per == "batch")
        images, kept, pixels = [], torch.zeros((), dtype=batch.y.dtype, device=batch.y.device), 0
        for v in self._images(batch.x):
            h, w = v.shape[-2:]
            sides = (torch.floor(cut * h + 0.5), torch.floor(cut * w + 0.5))
            pasted = box(centre, sides, h, w)
            images.append(torch.where(pasted, v.roll(1, 0), v))
            kept = kept + h * w - pasted.to(kept.dtype).sum((1, 2, 3))
            pixels += h * w
        share = kept / pixels
        x = tuple(images) if isinstance(batch.x, tuple) else images[0]
        return Batch(x, mixed(batch.y, share), mixed(batch.w, share))

    def _images(self, x: Any) -> tuple[Tensor, ...]:
        each = x if isinstance(x, tuple) else (x,)
        odd = next((tuple(v.shape[1:]) for v in each if v.dim() != 4), None)
        if odd is not None:
            raise EquipoiseError(
                f"{self!r} pastes boxes of images (C, H, W); an input has rows of shape {odd}: use MixUp."
            )
        return each
