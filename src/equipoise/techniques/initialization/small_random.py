from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor

from ...technique import At, Params, Technique, knob, option
from ._draw import replace_weights


class SmallRandom(Technique):
    """Small random start values that ignore the width of the layers.

    kind = "normal": w ~ N(0, s²); "uniform": w ~ U[−s, s), zero mean; "positive": w ~ U[0, s), the deck's
    `0.001*np.random.random`, whose mean s/2 adds up over the inputs; biases 0. The deck's `random()/sqrt(d)` is
    SmallRandom(1/√d, "positive").

    Knobs: `scale` = s > 0.
    Options: `kind` = "normal" (default), "uniform" or "positive".
    Shapes: every trainable weight of every site.
    Errors: no trainable weight of a site in the model.
    Trade: none on bias or variance. A layer of n inputs multiplies a small signal by √n·s (normal): at n = 500 and s =
        .001 by .022, so deep nets start with signals and gradients of almost nothing; "positive" multiplies its mean by
        n·s/2, so wide nets drift.
    Source: deck D1.
    """

    slot = "initialization"
    scale: float = knob(0.001, low=0.0, open="low")
    kind: str = option("normal", choices=("normal", "uniform", "positive"))

    def init(self, params: Params, at: Callable[[Any], At]) -> Params:
        return replace_weights(self, params, at, self._draw)

    def _draw(self, site: Any, w: Tensor, noise: Any) -> Tensor:
        if self.kind == "normal":
            return self.scale * noise.normal(tuple(w.shape), w.dtype)
        u = noise.uniform(tuple(w.shape), w.dtype)
        return self.scale * (u if self.kind == "positive" else 2 * u - 1)
