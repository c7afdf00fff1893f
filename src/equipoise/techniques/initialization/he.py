from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor

from ...technique import At, Params, Technique, option
from ._draw import draw_weights


class He(Technique):
    """Start values that hold the size of ReLU signals (in) or of their gradients (out).

    w ~ zero mean with variance 2/fan_in (`in`, default), 2/fan_out (`out`) or 4/(fan_in + fan_out) (`average`); biases 0.

    Options: `mode`; `kind` = "normal" or "uniform" (U[−√(3v), √(3v)) for variance v).
    Shapes: every weight of every site; fan = channels/groups × kernel, as torch counts.
    Trade: none on bias or variance; the depth at which a plain ReLU net still trains.
    Source: He et al. (2015); decks D1, D4.
    """

    slot = "initialization"
    mode: str = option("in", choices=("in", "out", "average"))
    kind: str = option("normal", choices=("normal", "uniform"))

    def init(self, params: Params, at: Callable[[Any], At]) -> Params:
        return draw_weights(params, at, self._variance, self.kind)

    def _variance(self, site: Any, w: Tensor) -> float:
        fan_in, fan_out = site.fans(w)
        return {"in": 2 / fan_in, "out": 2 / fan_out, "average": 4 / (fan_in + fan_out)}[self.mode]
