from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from ...technique import At, knob
from ._color import blend, from_unit, grey, to_unit, turn_hue
from ._image import ImageAugmentation, value_range


class ColorJitter(ImageAugmentation):
    """Change brightness, contrast, saturation and hue a little, in this order.

    With v in [0, 1], stored values over the range of their format (or of the fit rows), and g its grey value:
    v ← f_b v,  v ← ḡ + f_c (v − ḡ) with ḡ the image's mean of g,  v ← g + f_s (v − g) pixel by pixel, each clipped to
    [0, 1];  hue ← hue + h turns of the colour circle.  f ~ U[max(0, 1 − strength), 1 + strength], h ~ U[−hue, hue].

    Knobs: `brightness`, `contrast`, `saturation` ≥ 0, the strengths; `hue` in [0, 0.5] turns. All 0 switches it off.
    Shapes: raw images (B, C, H, W), bytes or floats. C = 3 are red, green, blue, g = .299 R + .587 G + .114 B; for any
        other C g is the mean of the channels and there is no hue, for C = 1 no saturation either. One draw of each an
        example; off in evaluation.
    Errors: data that are no images.
    Trade: a variance reducer where light and colour do not tell the class; a bias where they do (ripe and unripe).
    Source: Krizhevsky et al. (2012); Szegedy et al. (2015); deck D3 ("change color scheme").
    """

    off = {"brightness": 0.0, "contrast": 0.0, "saturation": 0.0, "hue": 0.0}
    brightness: float = knob(0.2, low=0.0, high=math.inf, open="high")
    contrast: float = knob(0.2, low=0.0, high=math.inf, open="high")
    saturation: float = knob(0.2, low=0.0, high=math.inf, open="high")
    hue: float = knob(0.05, low=0.0, high=0.5)

    def learn(self, v: Tensor) -> dict[str, Tensor]:
        return value_range(v)

    def augment(self, x: Tensor, at: At) -> Tensor:
        assert at.noise is not None
        u = (2 * at.noise.uniform((len(x), 4), x.dtype) - 1).unbind(1)
        v = to_unit(x, at.fitted)
        v = blend(v, 0.0, _factor(u[0], self.brightness))
        v = blend(v, grey(v).mean((2, 3), keepdim=True), _factor(u[1], self.contrast))
        v = blend(v, grey(v), _factor(u[2], self.saturation))
        if x.shape[1] == 3:
            v = turn_hue(v, u[3] * self.hue)
        strengths: Any = (self.brightness, self.contrast, self.saturation, self.hue)
        still = torch.as_tensor(sum(strengths) == 0, device=x.device)
        return torch.where(still, x, from_unit(v, at.fitted))


def _factor(u: Tensor, strength: Any) -> Tensor:
    """U[max(0, 1 − strength), 1 + strength] from u ~ U[−1, 1)."""
    low = torch.clamp(torch.as_tensor(1.0 - strength), min=0.0)
    return low + (u + 1) / 2 * (1 + strength - low)
