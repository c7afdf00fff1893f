from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ...technique import At, Params, Technique, option
from ._draw import draw_weights


class He(Technique):
    """Start values that hold the size of ReLU signals (in) or of their gradients (out).

    w ~ zero mean with variance 2/fan_in (`in`, default), 2/fan_out (`out`) or 4/(fan_in + fan_out) (`average`, the
    average of the fans); biases 0. E[a²] stays as it is from layer to layer, where a = max(0, z) keeps half of E[z²].

    Options: `mode`; `kind` = "normal" or "uniform" (U[−√(3v), √(3v)) for variance v).
    Shapes: every trainable weight of every site; fan = channels/groups × kernel, as torch counts.
    Errors: no trainable weight of a site in the model.
    Trade: none on bias or variance; the depth at which a plain ReLU net still trains. On a tapering net `in` and `out`
        contradict each other: each lets the other's signal drift by ∏ fan_out/fan_in.
    Source: He, Zhang, Ren, Sun (2015), Delving Deep into Rectifiers; decks D1, D4.
    """

    slot = "initialization"
    mode: str = option("in", choices=("in", "out", "average"))
    kind: str = option("normal", choices=("normal", "uniform"))

    def init(self, params: Params, at: Callable[[Any], At]) -> Params:
        return draw_weights(self, params, at, self._variance, self.kind)

    def _variance(self, fan_in: float, fan_out: float) -> float:
        return {"in": 2 / fan_in, "out": 2 / fan_out, "average": 4 / (fan_in + fan_out)}[self.mode]
