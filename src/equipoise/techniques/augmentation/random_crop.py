from __future__ import annotations

import torch
from torch import Tensor

from ...errors import EquipoiseError
from ...technique import At, knob, option
from ._image import channel_means, pixels
from ._moving import PixelMover, Places, shift


class RandomCrop(PixelMover):
    """Pad an image on all sides and cut a window of its own size at a random place.

    x̃[c, i, j] = x[c, i + d_y, j + d_x],  d uniform on the whole numbers −s … s,  s = padding · side, rounded.
    d = 0, the offset s into the padded image, is the identity.

    Knobs: `padding` in [0, 1), a fraction of the height (above, below) and of the width (left, right): 0.125 is 4 of 32
        pixels; 0 switches it off.
    Options: `fill` = "mean" (default: the channel's, over the fit rows, which Standardize maps to 0), "zero", "edge"
        (the border pixel again) or "reflect" (mirrored at the border pixel).
    Shapes: raw images (B, C, H, W) in any units; one draw an example; off in evaluation.
    Errors: data that are no images; a padding that reaches no whole pixel.
    Trade: a variance reducer where the label does not depend on the position; costs the pixels that are cut off.
    Source: Krizhevsky et al. (2012); He et al. (2016), section 4.2 (4 pixels at 32 × 32); decks D1, D3.
    """

    off = {"padding": 0.0}
    padding: float = knob(0.125, low=0.0, high=1.0, open="high")
    fill: str = option("mean", choices=("mean", "zero", "edge", "reflect"))

    def accept(self, channels: int, height: int, width: int) -> None:
        if self.padding > 0 and pixels(self.padding, max(height, width)) == 0:
            raise EquipoiseError(
                f"{self!r}: {self.padding:g} of {height}×{width} pixels is less than half a pixel: nothing would move. "
                f"Use at least {0.5 / max(height, width):.3g}, or leave it out."
            )

    def learn(self, v: Tensor) -> dict[str, Tensor]:
        return channel_means(v) if self.fill == "mean" else {}

    def move(self, places: Places, at: At) -> Places:
        assert at.noise is not None
        u = at.noise.uniform((len(places.rows), 2))
        rows, columns = self._cut(places.rows, u[:, 0]), self._cut(places.columns, u[:, 1])
        if self.fill in ("edge", "reflect"):
            return Places(rows, columns, places.fill)
        return Places(rows, columns, at.fitted["mean"] if self.fill == "mean" else 0.0)

    def _cut(self, i: Tensor, u: Tensor) -> Tensor:
        """Places (B, n) through a window shifted by a whole number d uniform on −s … s, from u (B,) ~ U[0, 1)."""
        n = i.shape[1]
        s = pixels(self.padding, n)
        d = torch.floor(u * (2 * s + 1)) - s
        at = (torch.arange(n, device=u.device) + d[:, None]).long()
        if self.fill == "edge":
            at = at.clamp(0, n - 1)
        elif self.fill == "reflect":
            at = _reflected(at, n)
        return shift(i, at)


def _reflected(i: Tensor, n: int) -> Tensor:
    """Mirrored at pixels 0 and n − 1, which are not repeated."""
    period = max(2 * (n - 1), 1)
    i = i.remainder(period)
    return torch.minimum(i, period - i).clamp(0, n - 1)
