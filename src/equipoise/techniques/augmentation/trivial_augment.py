from __future__ import annotations

import torch
from torch import Tensor

from ...technique import At, knob
from ._color import from_unit, to_unit
from ._image import ImageAugmentation, channel_means, per_example, value_range
from ._operations import OPERATIONS, auto_contrast, blended, equalize, moved, posterize, solarize

LEVELS = 31  # strengths 0 … 30, as the source


class TrivialAugment(ImageAugmentation):
    """One operation an image, drawn uniformly, at a strength drawn uniformly.

    x̃ = o(x, ± l/30), o uniform over 14 operations, l uniform on 0 … 30, the sign a fair coin. At full strength:
    identity; shear x, shear y (slope 0.99); translate x, translate y (the whole side); rotate (135°); brightness,
    colour, contrast, sharpness (factor 1 ± 0.99); posterize (2 of 8 bits); solarize (threshold 0); auto contrast;
    equalize.

    Knobs: `p` in [0, 1], the share of images that are augmented (0 switches it off).
    Shapes: raw images (B, C, H, W); stored values are read in [0, 1] of the range of their format (or of the fit rows),
        posterize, solarize and equalize in 256 steps of it; geometric operations are bilinear about the centre and
        filled with the channel's mean over the fit rows; one draw an example; off in evaluation.
    Errors: data that are no images. A warning where the data does not declare `rotate` label-preserving: it turns by up
        to 135°.
    Trade: a strong variance reducer without strengths to tune; wants long training; bias where the label is not blind
        to the operations.
    Source: Müller and Hutter (2021), the wide space; its operations: Cubuk et al. (2019), AutoAugment.
    """

    off = {"p": 0.0}
    breaks = "rotate"
    p: float = knob(1.0, low=0.0, high=1.0)

    def learn(self, v: Tensor) -> dict[str, Tensor]:
        return channel_means(v) | value_range(v)

    def augment(self, x: Tensor, at: At) -> Tensor:
        assert at.noise is not None
        u = at.noise.uniform((len(x), 4)).unbind(1)
        name = torch.floor(u[0] * len(OPERATIONS))
        size = torch.floor(u[1] * LEVELS) / (LEVELS - 1)
        signed = torch.where(u[2] < 0.5, size, -size)
        is_ = {o: name == i for i, o in enumerate(OPERATIONS)}
        v = to_unit(x, at.fitted)
        out = moved(v, is_, signed, to_unit(at.fitted["mean"], at.fitted))
        out = torch.where(per_example(name < OPERATIONS.index("brightness")), out, blended(v, is_, signed))
        for o, result in (
            ("posterize", posterize(v, size)),
            ("solarize", solarize(v, size)),
            ("auto_contrast", auto_contrast(v)),
            ("equalize", equalize(v)),
        ):
            out = torch.where(per_example(is_[o]), result, out)
        changed = (u[3] < self.p) & (name > 0)
        return torch.where(per_example(changed), from_unit(out, at.fitted), x)
