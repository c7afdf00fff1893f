"""`bias_variance`: bias², variance and risk of one recipe, measured on random half-splits."""

from __future__ import annotations

import math
import time
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from . import schemas
from .errors import EquipoiseError
from .feed import Schedule
from .plan import Options
from .recipe import resolve
from .reference import reference_recipe
from .run import versions
from .study.execute import Setting, run_halves, targets_of
from .study.tradeoff import FORMS, Decomposition, decompose

if TYPE_CHECKING:
    from .data import Data


@dataclass(frozen=True)
class BiasVariance:
    """The decomposition per form of the loss, each number with its 95 % interval, at the training size ``n``.

    ``forms``: ``squared`` first (of predictions, or of class probabilities against one-hot labels); for classes also
    ``cross-entropy`` and ``zero-one``. ``facts``: what it takes to repeat the measurement.
    """

    n: int
    splits: int
    forms: dict[str, Decomposition]
    facts: dict[str, Any] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """bias_variance.json; numbers that there are not are null."""
        forms = [{"form": name, **{k: _number(v) for k, v in asdict(d).items()}} for name, d in self.forms.items()]
        start = {"schema": schemas.identifier("bias_variance"), "n": self.n, "splits": self.splits}
        return {**start, "forms": forms, **self.facts}


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
    cross-entropy (Bregman, jackknifed) and 0-1 (Kohavi–Wolpert) forms. Intervals hold both errors, of splits (R − 1
    degrees of freedom: two splits leave wide ones) and of examples, or of groups of examples where rows are grouped.
    B² may come out negative and is not clipped. A training that diverged predicts class priors, or the mean.
    Raises EquipoiseError for splits < 2.
    Source: Yang et al. (2020), Heskes (1998), Kohavi and Wolpert (1996).
    """
    if isinstance(splits, bool) or not isinstance(splits, int) or splits < 2:
        raise EquipoiseError(f"splits={splits!r}: at least two random splits; one shows no error.")
    resolved = resolve(recipe, data.task, default=reference_recipe(model))
    setting = Setting(model, data.to(options.resolved_device()), Schedule(epochs, batch_size), options)
    began = time.perf_counter()
    predictions, half = run_halves(setting, [resolved], splits, seed, [1.0])
    targets, groups = targets_of(data, "assess"), data.groups_of("assess")
    names = FORMS if data.task == "classify" else {"squared": FORMS["squared"]}
    forms = {name: decompose(predictions[0], targets, form, groups) for name, form in names.items()}
    network = model if isinstance(model, str) else getattr(model, "__name__", type(model).__name__)
    facts = {
        "question": {"data": data.name, "model": network, "recipe": resolved.to_list()},
        "epochs": epochs, "batch_size": batch_size, "seed": seed, "seconds": time.perf_counter() - began,
        "fingerprint": data.fingerprint, "versions": versions(),
    }  # fmt: skip
    return BiasVariance(half, splits, forms, facts)


def _number(v: float) -> float | None:
    return v if math.isfinite(v) else None
