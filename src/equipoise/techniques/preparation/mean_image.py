from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from ...technique import Technique
from ._numbers import each, mean_over, wanted


class MeanImage(Technique):
    """Subtract the mean image of the fit rows, H×W×C in the data's own size, as AlexNet does.

    x′ = x − μ, with μ_chw the mean of that pixel over the fit rows. Nothing is scaled: bytes stay within ±255, so a
    learning rate that suits standardized images is too large. Inputs that are no images pass unchanged.

    Shapes: images (B, C, H, W) or (B, C, D, H, W); μ has the shape of one image.
    Errors: refused for data without images.
    Trade: changes neither bias nor variance; unlike ChannelMean it is tied to a position, so it suits aligned images,
        and a crop or a shift made before it sees the wrong mean.
    Source: Krizhevsky, Sutskever, Hinton (2012), AlexNet; deck D1.
    """

    slot = "inputs"
    kinds = ("image",)

    def fit(self, x: Any, y: Tensor, data: Any) -> dict[str, Tensor]:
        return {f"mean{i}": mean_over(v, [0]) for i, v in wanted(self, x, 4, "images (C, H, W)")}

    def prepare(self, x: Any, fitted: Mapping[str, Tensor]) -> Any:
        return each(x, lambda i, v: v - fitted[f"mean{i}"] if f"mean{i}" in fitted else v)
