from __future__ import annotations

import torch
from torch import Tensor

from ...errors import EquipoiseError
from ...technique import At, knob
from ._image import ImageAugmentation


class ChannelShuffle(ImageAugmentation):
    """Exchange the colour channels of an image, with probability p.

    x̃[c] = x[π(c)] with probability p, else x; π is uniform over all C! permutations, the identity among them.

    Knobs: `p` in [0, 1] (0 switches it off).
    Shapes: raw images (B, C, H, W), C ≥ 2, in any units; one permutation an example; off in evaluation.
    Errors: data that are no images; images of one channel. A warning where the data does not declare `channel_shuffle`
        label-preserving.
    Trade: a variance reducer where no channel has a meaning of its own; a strong bias where colour tells the class.
    Source: Buslaev et al. (2020), Albumentations; deck D3 ("change color scheme").
    """

    off = {"p": 0.0}
    breaks = "channel_shuffle"
    p: float = knob(0.5, low=0.0, high=1.0)

    def accept(self, channels: int, height: int, width: int) -> None:
        if channels < 2:
            raise EquipoiseError(f"{self!r} exchanges channels; these images have one: leave it out.")

    def augment(self, x: Tensor, at: At) -> Tensor:
        assert at.noise is not None
        b, c, h, w = x.shape
        order = torch.argsort(at.noise.uniform((b, c)), dim=1, stable=True)
        chosen = at.noise.bernoulli((b, 1), self.p)
        order = torch.where(chosen, order, torch.arange(c, device=x.device))
        return x.gather(1, order[:, :, None, None].expand(b, c, h, w))
