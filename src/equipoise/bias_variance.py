"""`bias_variance`: bias², variance and risk of one recipe, measured on random half-splits."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from .errors import EquipoiseError
from .feed import Schedule
from .plan import Options
from .recipe import resolve
from .reference import reference_recipe
from .study.execute import Setting, run_halves, targets_of
from .study.tradeoff import Decomposition, cross_entropy, decompose, kohavi_wolpert, squared

if TYPE_CHECKING:
    from .data import Data

FORMS = {"squared": squared, "cross-entropy": cross_entropy, "zero-one": kohavi_wolpert}


@dataclass(frozen=True)
class BiasVariance:
    """The decomposition per form of the loss, each number with its 95 % interval, at the training size ``n``."""

    n: int
    splits: int
    forms: dict[str, Decomposition]

    def to_dict(self) -> dict[str, Any]:
        from dataclasses import asdict

        return {"n": self.n, "splits": self.splits, "forms": {k: asdict(v) for k, v in self.forms.items()}}


def bias_variance(
    model: Any,
    recipe: Any,
    data: Data,
    *,
    splits: int = 2,
    epochs: int,
    batch_size: int = 64,
    seed: int = 0,
    options: Options = Options(),
) -> BiasVariance:
    """Bias², variance and risk (their sum) of a recipe on the `assess` rows, unbiased, for this data set at n/2.

    R = ``splits`` random splits of the fit rows into two disjoint halves, one training on each, with different seeds:
    V = ½‖f₁ − f₂‖², B² = ⟨f₁ − y, f₂ − y⟩ per example (the noise of y is in B²). Classification also gives the
    cross-entropy (Bregman) and 0-1 (Kohavi–Wolpert) forms. Raises EquipoiseError for splits < 2.
    Source: Yang et al. (2020), Heskes (1998), Kohavi and Wolpert (1996).
    """
    if splits < 2:
        raise EquipoiseError(f"splits={splits}: at least two random splits; one shows no error.")
    resolved = resolve(recipe, data.task, default=reference_recipe(model))
    setting = Setting(model, data.to(options.resolved_device()), Schedule(epochs, batch_size), options)
    predictions, half = run_halves(setting, [resolved], splits, seed, [1.0])
    targets = targets_of(data, "assess")
    names = FORMS if data.task == "classify" else {"squared": squared}
    return BiasVariance(half, splits, {name: decompose(predictions[0], targets, form) for name, form in names.items()})
