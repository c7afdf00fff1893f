from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from ...errors import EquipoiseError
from ...technique import At, Technique, option
from .._whole import whole
from ._combine import MEANS, choices, combined, tasks_of
from ._masks import Masks


class MonteCarlo(Technique):
    """Predict by averaging over the noise of every random technique of the recipe, augmentation included.

    f(x) = mean of f(x; noise_t) over T draws: Σ_t f_t/T (`arithmetic`), the normalized ∏_t f_t^(1/T) (`geometric`), or
    the share of first choices (`vote`). Where the recipe draws at most 12 Bernoulli units in all, the 2^units masks are
    gone through instead, each with its probability: the exact expectation.

    Training is untouched. The rule without this entry puts the expected noise into the weights (weight scaling): for
    one softmax layer over dropped inputs that is the geometric mean exactly, for deeper networks an approximation,
    whose gap `measure` tells.

    Options: `samples` = T ≥ 1; `mean` = "arithmetic", "geometric" or "vote".
    Shapes: draws (T, n, K) to (n, K); the same for the same run, rows and T.
    Errors: geometric means and votes of targets (regression).
    Trade: removes the approximation of weight scaling and tells how sure the network is; the error of the mean falls as
        1/√T, the cost rises as T forward passes (2^units where enumerated).
    Source: Srivastava et al. (2014), section 7.5; Gal and Ghahramani (2016); decks D0, D1, D2, D3.
    """

    samples: int = option(50)
    mean: str = option("arithmetic", choices=MEANS)

    UNITS = 12  # the most that are enumerated

    @property
    def tasks(self) -> tuple[str, ...]:  # pyright: ignore[reportIncompatibleVariableOverride]
        return tasks_of(self.mean)

    def check(self) -> None:
        whole(self, "samples", 1)

    def predict(self, forward: Callable[..., Tensor], x: Any, at: At) -> Tensor:
        draws, weights = self.draws(forward, x, at)
        return self.averaged(draws, weights)

    def draws(self, forward: Callable[..., Tensor], x: Any, at: At) -> tuple[Tensor, Tensor | None]:
        """(draws (T, n, K), None), or (every mask's prediction (2^units, n, K), its probability)."""
        masks = Masks(at.net, self.UNITS)
        try:
            first = forward(x, masks)
        except EquipoiseError:  # too many masks, or draws that are none
            return torch.stack([forward(x, t) for t in range(self.samples)]), None
        predictions, chances = [first], [masks.probability]
        for code in range(1, 2**masks.units):
            masks.code = code
            predictions.append(forward(x, masks))
            chances.append(masks.probability)
        return torch.stack(predictions), torch.stack(chances)

    def averaged(self, draws: Tensor, weights: Tensor | None) -> Tensor:
        if weights is None:
            return combined(draws, self.mean)
        w = weights.to(draws.dtype).view(-1, 1, 1)
        if self.mean == "geometric":
            return torch.softmax((w * draws.clamp(min=torch.finfo(draws.dtype).tiny).log()).sum(0), -1)
        return (w * (draws if self.mean == "arithmetic" else choices(draws))).sum(0)

    def measure(self, forward: Callable[..., Tensor], x: Any, at: At) -> dict[str, float]:
        """`spread`: the standard deviation of a prediction over the noise; `gap`: |f − deterministic rule|; both means
        over rows and outputs. `error`: the standard error of f, which chance adds to the gap (0 where enumerated)."""
        draws, weights = self.draws(forward, x, at)
        w = draws.new_full((len(draws),), 1 / len(draws)) if weights is None else weights.to(draws)
        w = w.view(-1, 1, 1)
        variance = (w * (draws - (w * draws).sum(0)) ** 2).sum(0)
        if weights is None:
            variance = variance * len(draws) / max(len(draws) - 1, 1)
        spread = float(variance.sqrt().mean())
        gap = float((self.averaged(draws, weights) - forward(x)).abs().mean())
        return {"spread": spread, "gap": gap, "error": spread / len(draws) ** 0.5 if weights is None else 0.0}
