from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor

from ...technique import At, Params, Technique, knob
from ._draw import replace_weights
from ._orthogonal import orthogonal


class Orthogonal(Technique):
    """Start values whose rows, or columns where there are fewer of them, are orthogonal and of one length.

    A ~ N(0, 1) of the weight's shape (fan_out, rest), A = Q R, W = g·Q·diag(sgn R_jj): uniform over the orthogonal
    matrices (Haar); W Wᵀ = g² I or Wᵀ W = g² I. Recurrent modules: gate by gate, so that the square hidden-to-hidden
    block of each gate keeps lengths. Biases 0.

    Knobs: `gain` = g > 0: 1 for linear layers, √2 for ReLU, 5/3 for tanh.
    Shapes: every trainable weight of every site; kernels flattened to (channels out, channels in/groups × kernel).
    Errors: no trainable weight of a site in the model.
    Trade: none on bias or variance; all singular values are g, so a deep linear net keeps every direction, not only the
        average. Costs one QR decomposition per weight at the start.
    Source: Saxe, McClelland, Ganguli (2014); Mezzadri (2007) for the sign.
    """

    slot = "initialization"
    gain: float = knob(1.0, low=0.0, open="low")

    def init(self, params: Params, at: Callable[[Any], At]) -> Params:
        def draw(site: Any, w: Tensor, noise: Any) -> Tensor:
            return self.gain * orthogonal(site, w, noise)

        return replace_weights(self, params, at, draw)
