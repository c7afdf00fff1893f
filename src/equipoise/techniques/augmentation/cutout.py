from __future__ import annotations

import torch
from torch import Tensor

from ...technique import At, knob
from ._image import ImageAugmentation, box, channel_means, pixels


class Cutout(ImageAugmentation):
    """Hide a square of the image, anywhere.

    x̃[c, i, j] = μ_c inside a square of s × s pixels around a uniformly drawn pixel, clipped at the border, else x.
    μ_c is the channel's mean over the fit rows, s = side · min(H, W), rounded.

    Knobs: `side` in [0, 2], a fraction of the image's shorter side: 0.5 is 16 of 32 pixels; 0 switches it off.
    Shapes: raw images (B, C, H, W) in any units; one draw an example; off in evaluation.
    Errors: data that are no images.
    Trade: a variance reducer: the class must show in more than one place; bias where the object is smaller than the
        square.
    Source: DeVries and Taylor (2017), 16 of 32 pixels on CIFAR-10, 8 on CIFAR-100; deck D1.
    """

    off = {"side": 0.0}
    side: float = knob(0.5, low=0.0, high=2.0)

    def learn(self, v: Tensor) -> dict[str, Tensor]:
        return channel_means(v)

    def augment(self, x: Tensor, at: At) -> Tensor:
        assert at.noise is not None
        h, w = x.shape[-2:]
        s = pixels(self.side, min(h, w))
        hidden = box(at.noise.uniform((len(x), 2)), (s, s), h, w)
        return torch.where(hidden, at.fitted["mean"], x)
