from __future__ import annotations

import torch
from torch import Tensor

from ...errors import EquipoiseError
from ...technique import At, knob
from ._color import grey
from ._image import ImageAugmentation, per_example


class Grayscale(ImageAugmentation):
    """Take the colour out of an image, with probability p.

    x̃_R = x̃_G = x̃_B = .299 x_R + .587 x_G + .114 x_B with probability p, else x.

    Knobs: `p` in [0, 1] (0 switches it off).
    Shapes: raw images (B, 3, H, W) in any units (another number of channels: their mean); one draw an example; off in
        evaluation.
    Errors: data that are no images; images of one channel. A warning where the data does not declare `grayscale`
        label-preserving.
    Trade: a variance reducer where shape tells the class; a bias where colour does.
    Source: Wu et al. (2018) and Chen et al. (2020), p = 0.2; deck D3 ("change color scheme").
    """

    off = {"p": 0.0}
    breaks = "grayscale"
    p: float = knob(0.2, low=0.0, high=1.0)

    def accept(self, channels: int, height: int, width: int) -> None:
        if channels < 2:
            raise EquipoiseError(f"{self!r} takes colours out; these images have one channel: leave it out.")

    def augment(self, x: Tensor, at: At) -> Tensor:
        assert at.noise is not None
        return torch.where(per_example(at.noise.bernoulli((len(x),), self.p)), grey(x), x)
