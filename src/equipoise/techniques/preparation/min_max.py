from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from ...technique import Technique, option
from ._numbers import axes, each, wanted


class MinMax(Technique):
    """Map every feature (images: every channel) from its range on the fit rows to [0, 1] or [−1, 1].

    x′ = l + (1 − l)·(x − a)/(b − a), with a and b the smallest and largest value of the fit rows and l = `low`. Outside
    of that range it extrapolates, unless `clip` holds it in [l, 1]. A constant feature gets b − a = 1 and becomes l.
    Several inputs are treated one by one; inputs of whole numbers (tokens) pass unchanged, bytes of images are numbers.

    Options: `low` = 0 (default) or −1; `clip` = False (default) or True.
    Shapes: x (B, F) per feature; (B, C, H, W) per channel; (B, T, F) per feature over rows and times.
    Errors: refused for data that are tokens alone.
    Trade: changes neither bias nor variance of the model class; one outlier sets the scale of its feature. `low` = 0
        leaves inputs of one sign, which slows descent; `clip` cannot tell values beyond the range apart.
    Source: LeCun, Bottou, Orr, Müller (1998), Efficient BackProp; deck D3.
    """

    slot = "inputs"
    low: float = option(0.0, choices=(0.0, -1.0))
    clip: bool = option(False, choices=(False, True))

    def fit(self, x: Any, y: Tensor, data: Any) -> dict[str, Tensor]:
        fitted: dict[str, Tensor] = {}
        for i, v in wanted(self, x):
            a, b = (f(v, axes(v), keepdim=True)[0].double() for f in (torch.amin, torch.amax))
            fitted[f"min{i}"], fitted[f"range{i}"] = a, torch.where(b > a, b - a, 1.0)
        return fitted

    def prepare(self, x: Any, fitted: Mapping[str, Tensor]) -> Any:
        def one(i: int, v: Tensor) -> Tensor:
            v = self.low + (1 - self.low) * ((v - fitted[f"min{i}"]) / fitted[f"range{i}"])
            return v.clamp(self.low, 1.0) if self.clip else v

        return each(x, one)
