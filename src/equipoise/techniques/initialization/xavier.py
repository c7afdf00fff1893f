from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ...technique import At, Params, Technique, knob, option
from ._draw import draw_weights


class Xavier(Technique):
    """Start values that hold the variance of signals through linear layers (and, with gain 5/3, through tanh).

    w ~ zero mean with variance g²/fan_in (`in`) or 2 g²/(fan_in + fan_out) (`average`, Glorot's: a compromise between
    signals and gradients); biases 0.

    Knobs: `gain` = g > 0: 1 for linear layers; 5/3 holds the scale of tanh near .65.
    Options: `mode` = "average" (default) or "in"; `kind` = "uniform" (default, as the paper; U[−√(3v), √(3v)) for
        variance v) or "normal".
    Shapes: every trainable weight of every site; fan = channels/groups × kernel, as torch counts.
    Errors: no trainable weight of a site in the model.
    Trade: none on bias or variance. Under ReLU each layer halves E[a²]: use He there.
    Source: Glorot and Bengio (2010); deck D1 prints the form `in`.
    """

    slot = "initialization"
    gain: float = knob(1.0, low=0.0, open="low")
    mode: str = option("average", choices=("average", "in"))
    kind: str = option("uniform", choices=("uniform", "normal"))

    def init(self, params: Params, at: Callable[[Any], At]) -> Params:
        return draw_weights(self, params, at, self._variance, self.kind)

    def _variance(self, fan_in: float, fan_out: float) -> float:
        g = self.gain
        return {"in": g * g / fan_in, "average": 2 * g * g / (fan_in + fan_out)}[self.mode]
