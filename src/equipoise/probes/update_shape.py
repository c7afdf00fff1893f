"""A loss too shallow or too steep for the step that is taken along it."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch

from ..probe import WARNING, Finding, Measure, Probe, Trace, ratio

ALPHA, FALL, ALL = "α of the step", "fall of one step, in losses of a constant", "fall of all steps at this rate, same"
DEEPEST, BEND = "fall to the parabola's minimum, same", "1 − R² of a parabola"


def parabola(start: tuple[float, float], end: tuple[float, float]) -> tuple[float, float, float]:
    """Least-squares (w₀, w₁, w₂) of φ(c) = w₀ + w₁c + w₂c² through φ(0), φ′(0), φ(1), φ′(1); NaN where one is not
    finite."""
    a = torch.tensor([[1, 0, 0], [0, 1, 0], [1, 1, 1], [0, 1, 2]], dtype=torch.float64)
    seen = torch.tensor([*start, *end], dtype=torch.float64)
    if not bool(seen.isfinite().all()):
        return math.nan, math.nan, math.nan
    w0, w1, w2 = (torch.linalg.pinv(a) @ seen).tolist()
    return w0, w1, w2


def alpha(w1: float, w2: float) -> float:
    """α = −2w₂/w₁ − 1: −1 where the loss falls in a straight line, 0 at its minimum, +1 as high on the other side; NaN
    where the step does not go downhill."""
    return -2 * w2 / w1 - 1 if w1 < 0 else math.nan


def bend(lengths: Sequence[float], losses: Sequence[float]) -> float:
    """1 − R² of the least-squares parabola: 0 on a quadratic; NaN on a constant."""
    c, y = (torch.tensor(list(v), dtype=torch.float64) for v in (lengths, losses))
    if not bool(y.isfinite().all()):
        return math.nan
    basis = torch.stack([torch.ones_like(c), c, c * c], 1)
    left = y - basis @ (torch.linalg.pinv(basis) @ y)
    return ratio(left.square().sum(), (y - y.mean()).square().sum())


class UpdateShape(Probe):
    """Where an actual update Δ lands on the parabola of the loss along it: φ(c) = L(θ + cΔ), on probe rows, halfway.

    w₀ + w₁c + w₂c² is fitted to φ(0), φ′(0), φ(1), φ′(1); α = −2w₂/w₁ − 1 is −1 straight downhill, 0 at the minimum and
    +1 as high on the other side. 1 − R² of a parabola through φ at 0, ½ … 4 tells how far the loss is from quadratic.

    Rule: while less than a tenth of the constant's loss is explained: too steep where α > 1 and the loss after the step
        is higher; too shallow where α < −0.9, the parabola's minimum is worth over a twentieth of the constant's loss,
        and all steps at this one's fall are not.
    Known false alarms: a long warm-up seen halfway through it; momentum, whose steps are not downhill at times.
    Source: Schneider, Dangel, Hennig (2021), Cockpit; decks D2, D4; docs/decisions/0016.
    """

    follows = (
        "unscaled_inputs", "minibatch_shift", "wrong_targets", "squashed_outputs", "symmetry", "activation_profile",
        "gradient_profile", "gradient_spikes", "saturation", "dead_units", "update_ratio", "landscape",
        "batch_norm_statistics",
    )  # fmt: skip
    steep: float = 1.0
    shallow: float = -0.9
    worth: float = 0.05
    learned: float = 0.1
    longest: float = 1000.0  # factor of the rate that is proposed at most

    def measure(self, trace: Trace) -> list[Measure]:
        line, where = trace.line, "along the update"
        _, w1, w2 = parabola(line.start, line.end)
        found = alpha(w1, w2)
        deepest = ratio(w1 * w1, 4 * w2 * trace.constant) if w2 > 0 else math.inf
        fall = ratio(line.start[0] - line.end[0], trace.constant)
        losses = [line.start[0], *line.loss]
        return [
            self.number(where, found, ALPHA, self.shallow if found < 0 else self.steep),
            self.number(where, fall, FALL),
            self.number(where, fall * len(trace.losses), ALL),
            self.number(where, deepest if w1 < 0 else math.nan, DEEPEST),
            self.number(where, bend([0.0, *line.lengths], losses), BEND),
        ]

    def judge(self, measures: Sequence[Measure], trace: Trace) -> list[Finding]:
        m, fall, together, deepest, _ = measures
        if trace.learned >= self.learned or trace.failed:
            return []
        if m.value > self.steep and fall.value < 0:
            why = "beyond 1 the loss behind the step is higher than before it."
            entries = trace.at_rate(1 / (1 + m.value))
            return [self.finding(m, "the loss is too steep for steps so long", why, entries, WARNING)]
        if m.value < self.shallow and deepest.value > self.worth and 0 <= together.value < self.worth:
            why = "the minimum along the step is over twenty steps away, and all steps together do not come near it."
            entries = trace.at_rate(min(1 / (1 + m.value), self.longest) if m.value > -1 else self.longest)
            return [self.finding(m, "the loss is too shallow for steps so short", why, entries, WARNING)]
        return []
