from __future__ import annotations

from ...technique import At, knob
from ._moving import PixelMover, Places, mirror


class FlipHorizontal(PixelMover):
    """Mirror an image left to right, with probability p.

    x̃[c, i, j] = x[c, i, W − 1 − j] with probability p, else x; twice is the identity.

    Knobs: `p` in [0, 1] (0 switches it off).
    Shapes: raw images (B, C, H, W) in any units; one draw an example; off in evaluation.
    Errors: data that are no images. A warning where the data does not declare `flip_horizontal` label-preserving.
    Trade: a variance reducer, at most worth twice the rows, where left and right do not tell the class; a bias where
        they do (digits).
    Source: Krizhevsky et al. (2012); Simonyan and Zisserman (2015); deck D3.
    """

    off = {"p": 0.0}
    breaks = "flip_horizontal"
    p: float = knob(0.5, low=0.0, high=1.0)

    def move(self, places: Places, at: At) -> Places:
        assert at.noise is not None
        flip = at.noise.bernoulli((len(places.rows),), self.p)
        return places._replace(columns=mirror(places.columns, flip))
