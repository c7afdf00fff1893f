from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from ...technique import Technique
from ._numbers import axes, each, mean_over, wanted


class ChannelMean(Technique):
    """Subtract the 1×1×C mean of every channel, as VGG does.

    x′_c = x_c − μ_c, with μ_c over the fit rows and all positions. Nothing is scaled: bytes stay within ±255, so a
    learning rate that suits standardized images is too large. Inputs that are no images pass unchanged.

    Shapes: images (B, C, H, W) or (B, C, D, H, W); μ (C, 1, 1).
    Errors: refused for data without images.
    Trade: changes neither bias nor variance; removes the common offset that makes gradients of a unit's weights share a
        sign.
    Source: Simonyan and Zisserman (2015), VGG; deck D1.
    """

    slot = "inputs"
    kinds = ("image",)

    def fit(self, x: Any, y: Tensor, data: Any) -> dict[str, Tensor]:
        return {f"mean{i}": mean_over(v, axes(v)) for i, v in wanted(self, x, 4, "images (C, H, W)")}

    def prepare(self, x: Any, fitted: Mapping[str, Tensor]) -> Any:
        return each(x, lambda i, v: v - fitted[f"mean{i}"] if f"mean{i}" in fitted else v)
