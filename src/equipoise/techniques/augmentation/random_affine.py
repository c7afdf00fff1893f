from __future__ import annotations

import math

import torch
from torch import Tensor

from ...technique import At, knob, option
from ._image import ImageAugmentation, channel_means
from ._warp import inverse_of, warp


class RandomAffine(ImageAugmentation):
    """Rotate slightly, translate a few pixels, scale and shear, about the image's centre.

    x̃(p) = x(A⁻¹(p − t)),  A = k · R(θ) · S(φ),  positions p counted from the centre, bilinear between pixels.
    θ ~ U[−rotate, rotate] degrees;  t ~ U[−translate, translate] of the width and of the height;
    k = (1 + scale)^u, u ~ U[−1, 1];  S: x ← x + y tan φ, φ ~ U[−shear, shear] degrees.

    Knobs: `rotate` in [0, 180] degrees; `translate` in [0, 1], a fraction of width and height (0.0625 is 2 of 32
        pixels); `scale` ≥ 0; `shear` in [0, 90) degrees. All 0 switches it off, bit for bit.
    Options: `fill` of what lies beyond the border: "edge" (default: the nearest border pixel), "mean" (the channel's,
        over the fit rows) or "zero".
    Shapes: raw images (B, C, H, W) in any units; one draw of each an example; off in evaluation.
    Errors: data that are no images.
    Trade: a variance reducer where the label survives small motions; large angles turn a 6 into a 9: bias.
    Source: LeCun et al. (1998); Simard et al. (2003); decks D1 ("translation by few pixels, rotating slightly"), D3.
    """

    off = {"rotate": 0.0, "translate": 0.0, "scale": 0.0, "shear": 0.0}
    rotate: float = knob(10.0, low=0.0, high=180.0)
    translate: float = knob(0.0625, low=0.0, high=1.0)
    scale: float = knob(0.0, low=0.0, high=math.inf, open="high")
    shear: float = knob(0.0, low=0.0, high=90.0, open="high")
    fill: str = option("edge", choices=("edge", "mean", "zero"))

    def learn(self, v: Tensor) -> dict[str, Tensor]:
        return channel_means(v) if self.fill == "mean" else {}

    def augment(self, x: Tensor, at: At) -> Tensor:
        assert at.noise is not None
        h, w = x.shape[-2:]
        u = (2 * at.noise.uniform((len(x), 5), x.dtype) - 1).unbind(1)
        angle, slope = u[0] * self.rotate * (math.pi / 180), torch.tan(u[3] * self.shear * (math.pi / 180))
        factor = torch.exp(u[4] * torch.log1p(torch.as_tensor(self.scale)))
        shift = (u[1] * self.translate * w, u[2] * self.translate * h)
        fill = {"edge": None, "zero": 0.0}.get(self.fill, at.fitted.get("mean"))
        moved = warp(x, inverse_of(angle, slope, factor), shift, fill)
        still = (self.rotate == 0) & (self.translate == 0) & (self.scale == 0) & (self.shear == 0)
        return torch.where(torch.as_tensor(still, device=x.device), x, moved)
