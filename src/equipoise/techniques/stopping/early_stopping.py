from __future__ import annotations

import math

from ...errors import EquipoiseError
from ...technique import EpochVerdict, State, Technique, option
from .._whole import whole

History = list[dict[str, float]]


class EarlyStopping(Technique):
    """Stop when the loss on the stop rows no longer falls, and restore the weights of its best epoch.

    E(t): stop loss after epoch t; E_opt(t): its least value so far; F(t): training loss of epoch t; strips of k epochs.
    `patience`: E has not fallen below its best by more than δ for `patience` epochs.
    `GL`: GL(t) = 100 (E(t)/E_opt(t) − 1) > α.
    `PQ`: at the end of a strip, GL(t)/P_k(t) > α, with the progress P_k(t) = 1000 (mean F/min F − 1) over the strip.
    `UP`: E has risen from the end of one strip to the end of the next, s strips in a row.

    Options: `rule`; `patience` ≥ 1 epochs and `delta` = δ ≥ 0 in units of the loss, for `patience`; `alpha` = α ≥ 0, by
        default 5 (`GL`) or 0.75 (`PQ`); `strip` = k ≥ 2 epochs and `strips` = s ≥ 1, for `PQ` and `UP`.
    Shapes: one number an epoch and run.
    Errors: an option out of its range, or `alpha` for a rule that has none.
    Trade: an implicit norm penalty: fewer steps reach less far; bias up, variance down, time saved. `PQ` waits while
        training is still moving, `UP` is blind to slow rises within a strip, `GL` to plateaus; slower rules find
        slightly better weights.
    Source: Prechelt (1998), Early stopping, but when?; decks D2, D4.
    """

    slot = "stop"
    rule: str = option("patience", choices=("patience", "GL", "PQ", "UP"))
    patience: int = option(10)
    delta: float = option(0.0)
    alpha: float | None = option(None)
    strip: int = option(5)
    strips: int = option(3)

    def check(self) -> None:
        whole(self, "patience", 1)
        whole(self, "strip", 2)
        whole(self, "strips", 1)
        for name in ("delta", "alpha"):
            value = getattr(self, name)
            if value is not None and not (type(value) in (int, float) and 0 <= value < math.inf):
                raise EquipoiseError(f"{self!r}: {name} is a number from 0 on.")
        if self.alpha is not None and self.rule not in ("GL", "PQ"):
            raise EquipoiseError(
                f"{self!r}: alpha is the threshold of the rules 'GL' and 'PQ'; {self.rule!r} has none."
            )

    def epoch(self, history: History, state: State) -> tuple[State, EpochVerdict]:
        loss, best, since = history[-1]["stop_loss"], state.get("best"), state.get("since", 0)
        delta = self.delta if self.rule == "patience" else 0.0
        improved = math.isfinite(loss) and (best is None or loss < best - delta)
        best, since = (loss, 0) if improved else (best, since + 1)
        rising = state.get("rising", 0)
        if len(history) % self.strip == 0 and len(history) > self.strip:
            rising = rising + 1 if loss > history[-1 - self.strip]["stop_loss"] else 0
        state = {"best": best, "since": since, "rising": rising}
        reason = getattr(self, f"_{self.rule.lower()}")(history, state)
        return state, EpochVerdict(stop=bool(reason), best=improved, reason=reason)

    # each rule: why to stop now, or an empty text
    def _patience(self, history: History, state: State) -> str:
        return f"no better stop loss for {self.patience} epochs" if state["since"] >= self.patience else ""

    def _gl(self, history: History, state: State) -> str:
        lost, alpha = _generalization_loss(history, state), 5.0 if self.alpha is None else self.alpha
        return f"the stop loss lies {lost:.3g} % above its best, more than {alpha:g} %" if lost > alpha else ""

    def _pq(self, history: History, state: State) -> str:
        if len(history) % self.strip:
            return ""
        lost, alpha = _generalization_loss(history, state), 0.75 if self.alpha is None else self.alpha
        progress = _progress([row["loss"] for row in history[-self.strip :]])
        why = f"the stop loss lies {lost:.3g} % above its best, the training progress is {progress:.3g} ‰"
        return why if lost > alpha * progress else ""

    def _up(self, history: History, state: State) -> str:
        if len(history) % self.strip or state["rising"] < self.strips:
            return ""
        return f"the stop loss rose over {self.strips} strips of {self.strip} epochs"


def _generalization_loss(history: History, state: State) -> float:
    """GL(t) in percent."""
    loss, best = history[-1]["stop_loss"], state["best"]
    if best is None or loss == best:
        return 0.0
    return 100.0 * (loss / best - 1.0) if best > 0 and math.isfinite(loss) else math.inf


def _progress(losses: list[float]) -> float:
    """P_k(t) in per mille; a training loss that is not positive has no ratio, and counts as progress."""
    least = min(losses)
    return 1000.0 * (sum(losses) / (len(losses) * least) - 1.0) if least > 0 else math.inf
