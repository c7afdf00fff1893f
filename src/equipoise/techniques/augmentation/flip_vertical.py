from __future__ import annotations

from ...technique import At, knob
from ._moving import PixelMover, Places, mirror


class FlipVertical(PixelMover):
    """Turn an image upside down (mirror it top to bottom), with probability p.

    x̃[c, i, j] = x[c, H − 1 − i, j] with probability p, else x; twice is the identity.

    Knobs: `p` in [0, 1] (0 switches it off).
    Shapes: raw images (B, C, H, W) in any units; one draw an example; off in evaluation.
    Errors: data that are no images. A warning where the data does not declare `flip_vertical` label-preserving.
    Trade: a variance reducer where up and down mean the same (satellites, microscopes); elsewhere a bias.
    Source: deck D3; Shorten and Khoshgoftaar (2019).
    """

    off = {"p": 0.0}
    breaks = "flip_vertical"
    p: float = knob(0.5, low=0.0, high=1.0)

    def move(self, places: Places, at: At) -> Places:
        assert at.noise is not None
        flip = at.noise.bernoulli((len(places.rows),), self.p)
        return places._replace(rows=mirror(places.rows, flip))
