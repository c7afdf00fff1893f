from __future__ import annotations

import math

from ...technique import EpochVerdict, State, Technique, option


class EarlyStopping(Technique):
    """Stop when the loss on the stop rows no longer falls, and restore the best weights.

    Stop after epoch t if L_stop has not fallen below its best by more than δ for `patience` epochs.

    Options: `patience` ≥ 1 epochs; `delta` = δ ≥ 0, in units of the loss; `metric` = the stop-role score it reads.
    Shapes: one number an epoch and run.
    Trade: an implicit norm penalty: fewer steps reach less far; bias up, variance down, time saved.
    Source: Prechelt (1998); decks D2, D4.
    """

    slot = "stop"
    patience: int = option(10)
    delta: float = option(0.0)

    def epoch(self, history: list[dict[str, float]], state: State) -> tuple[State, EpochVerdict]:
        loss = history[-1]["stop_loss"]
        best, since = state.get("best", math.inf), state.get("since", 0)
        improved = loss < best - self.delta
        state = {"best": loss if improved else best, "since": 0 if improved else since + 1}
        reason = f"no better stop loss for {self.patience} epochs"
        return state, EpochVerdict(stop=state["since"] >= self.patience, best=improved, reason=reason)
