from __future__ import annotations

from torch import Tensor

from ... import rng
from ...technique import Technique, option
from .._whole import whole
from ._combine import MEANS, combined, tasks_of
from ._members import seed_of


class Bagging(Technique):
    """M members, each trained on a bootstrap resample of the fit rows; their predictions are combined.

    rows of member m: n draws with replacement from the n fit rows; f as in Ensemble

    A resample holds each row with probability 1 − (1 − 1/n)ⁿ ≈ 0.632. Member seeds are those of an Ensemble: start
    values and noise differ too.

    Options: `members` = M ≥ 1; `mean` = "arithmetic", "geometric" or "vote" (default, the deck's).
    Shapes: member predictions (M, n, K) to (n, K).
    Errors: geometric means and votes of targets (regression).
    Trade: the variance over training sets falls, most for unstable learners; each member sees 63 % of the rows, so
        that its bias rises: against one network on all the rows it may lose. Costs M runs.
    Source: Breiman (1996); deck D2.
    """

    conflicts = dict.fromkeys(("Ensemble", "Snapshot"), "each of them decides which members a run has.")
    members: int = option(5)
    mean: str = option("vote", choices=MEANS)

    @property
    def tasks(self) -> tuple[str, ...]:  # pyright: ignore[reportIncompatibleVariableOverride]
        return tasks_of(self.mean)

    def check(self) -> None:
        whole(self, "members", 1)

    def runs(self, seed: int, rows: Tensor) -> list[tuple[int, Tensor]]:
        return [
            (seed_of(seed, "Bagging/member", m), rows[_with_replacement(seed, m, rows)]) for m in range(self.members)
        ]

    def combine(self, predictions: Tensor) -> Tensor:
        """(M, n, K) to (n, K)."""
        return combined(predictions, self.mean)


def _with_replacement(seed: int, m: int, rows: Tensor) -> Tensor:
    """n positions out of n, from 62 random bits each."""
    noise, n = rng.source(seed, "Bagging/rows", m), len(rows)
    high, low = noise.bits((n,)).long() & 0x7FFFFFFF, noise.bits((n,)).long() & 0x7FFFFFFF
    return (((high << 31) | low) % n).to(rows.device)
