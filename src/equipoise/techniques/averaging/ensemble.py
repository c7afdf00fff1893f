from __future__ import annotations

from typing import Any

from torch import Tensor

from ...errors import EquipoiseError
from ...technique import Technique, option
from .._whole import whole
from ._combine import MEANS, combined, tasks_of
from ._members import seed_of


class Ensemble(Technique):
    """M members, each trained from a seed of its own on the same rows; their predictions are combined.

    f = (1/M) Σ_m f_m (`arithmetic`), the normalized ∏_m f_m^(1/M) (`geometric`), or the share of first choices (`vote`)

    Members may differ: member m gets the entries of ``recipes[m mod …]`` put into the run's recipe (each in the place
    of its slot), and the network ``models[m mod …]``. Member 0 has the run's own seed.

    Options: `members` = M ≥ 1; `mean` = "arithmetic", "geometric" or "vote"; `recipes` = texts such as
        "Dropout(0.3), L2(1e-4)", "" for the recipe as it is; `models` = reference networks or module:function.
    Shapes: member predictions (M, n, K) to (n, K).
    Errors: geometric means and votes of targets (regression); options that are no texts.
    Trade: the variance of independent members falls to 1/M, their bias stays; costs M runs. Members that differ in
        kind are less correlated. A vote discards how sure a member is.
    Source: Hansen and Salamon (1990); Lakshminarayanan, Pritzel, Blundell (2017); decks D0, D2.
    """

    conflicts = dict.fromkeys(("Bagging", "Snapshot"), "each of them decides which members a run has.")
    members: int = option(5)
    mean: str = option("arithmetic", choices=MEANS)
    recipes: Any = option(())
    models: Any = option(())

    @property
    def tasks(self) -> tuple[str, ...]:  # pyright: ignore[reportIncompatibleVariableOverride]
        return tasks_of(self.mean)

    def check(self) -> None:
        whole(self, "members", 1)
        for name in ("recipes", "models"):
            value = getattr(self, name)
            if not (isinstance(value, tuple) and all(isinstance(v, str) for v in value)):
                raise EquipoiseError(f"{self!r}: {name} is a list of texts, one per kind of member.")
            if len(value) > self.members:
                raise EquipoiseError(
                    f"{self!r}: {len(value)} {name} for {self.members} members: give at most one each."
                )

    def runs(self, seed: int, rows: Tensor) -> list[tuple[int, Tensor]]:
        return [(seed_of(seed, "Ensemble/member", m), rows) for m in range(self.members)]

    def kind(self, m: int) -> tuple[str, str]:
        """What member ``m`` differs in: (entries for its recipe, its network), "" for the run's own."""
        recipe, model = (of[m % len(of)] if of else "" for of in (self.recipes, self.models))
        return recipe, model

    def combine(self, predictions: Tensor) -> Tensor:
        """(M, n, K) to (n, K)."""
        return combined(predictions, self.mean)
