from __future__ import annotations

import math

from ...technique import EpochVerdict, State, Technique, knob, option
from .._whole import whole


class Plateau(Technique):
    """A learning rate that falls when the loss on the stop rows no longer does.

    An epoch is better where L < L_best (1 − θ). After more than `patience` epochs in a row that are not, ε ← γ ε; the
    count starts anew, after `cooldown` epochs that do not count.

    Knobs: `factor` = γ in (0, 1] (1 switches it off); `threshold` = θ in [0, 1); `floor` in [0, 1], the fraction of ε
        below which it does not fall.
    Options: `patience` ≥ 0 and `cooldown` ≥ 0, in epochs.
    Shapes: one number an epoch and run: the `stop` score that the curve `stop_loss` shows.
    Trade: shrinks the rate when the data say so instead of by a date; a noisy stop set makes it fall early.
    Source: torch.optim.lr_scheduler.ReduceLROnPlateau, whose defaults it has; deck D2 (shrinking rates).
    """

    slot = "schedule"
    off = {"factor": 1.0}
    factor: float = knob(0.1, low=0.0, high=1.0, open="low")
    threshold: float = knob(1e-4, low=0.0, high=1.0, open="high")
    floor: float = knob(0.0, low=0.0, high=1.0)
    patience: int = option(10)
    cooldown: int = option(0)

    def check(self) -> None:
        whole(self, "patience", 0)
        whole(self, "cooldown", 0)

    def epoch(self, history: list[dict[str, float]], state: State) -> tuple[State, EpochVerdict]:
        loss, best = history[-1]["stop_loss"], state.get("best")
        better = math.isfinite(loss) and (best is None or loss < best * (1 - self.threshold))
        cooling = state.get("cooling", 0)
        bad = 0 if better or cooling else state.get("bad", 0) + 1
        share, factor = state.get("share", 1.0), 1.0
        cooling = max(cooling - 1, 0)
        if bad > self.patience:
            factor = max(share * self.factor, self.floor) / share
            bad, cooling = 0, self.cooldown
        new = {"best": loss if better else best, "bad": bad, "cooling": cooling, "share": share * factor}
        return new, EpochVerdict(factor=factor)
