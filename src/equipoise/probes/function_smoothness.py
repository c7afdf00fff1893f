"""How straight the learned function runs from one example to another, layer by layer."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import torch
from torch import Tensor

from .. import techniques as T
from ..probe import WARNING, Finding, Measure, Probe, Trace, ratio
from ._held_out import LOW, WORSE, learned_by_heart

ROUGH = "path over chord between examples"


def roughness(answers: Tensor) -> float:
    """Σ path/Σ chord of answers (pairs, points, features) on straight lines between pairs of inputs: path is the sum of
    the distances of neighbouring points, chord that of the ends. 1 for a linear function; NaN where nothing moves."""
    a = answers.double()
    path = (a[:, 1:] - a[:, :-1]).norm(dim=-1).sum()
    return ratio(path, (a[:, -1] - a[:, 0]).norm(dim=-1).sum())


class FunctionSmoothness(Probe):
    """Σ path/Σ chord of each layer's activation and of the output on straight lines between pairs of probe rows, in 16
    steps, in prediction mode at the end. 1 is linear; it is free of all scales.

    Rule: the output over 3 while the held-out loss is, with 95 %, over that of fit, and over that of the best constant:
        two thirds of what the function does between examples is detour, and it does not help.
    Known false alarms: targets that oscillate between examples. Inputs that are no numbers (tokens) are not read.
    Source: deck D2 (depth and smoothness); Raghu et al. (2017), trajectory length; docs/decisions/0016.
    """

    follows = (
        "generalization_gap", "unscaled_inputs", "minibatch_shift", "activation_profile", "gradient_spikes",
        "saturation",
    )  # fmt: skip
    threshold: float = 3.0
    worse: float = 1.0
    pairs: int = 32
    points: int = 17

    def measure(self, trace: Trace) -> list[Measure]:
        f = trace.function
        if not f.x or len(f.x[0]) < 2 or trace.failed:
            return []
        n = min(self.pairs, len(f.x[0]))
        t = torch.linspace(0, 1, self.points).to(f.x[0])
        lines = [self._between(x[:n], x[:n].roll(1, 0), t) for x in f.x]
        answers = f.respond(tuple(lines))
        out = [self.number(k, roughness(a.unflatten(0, (n, self.points))), ROUGH) for k, a in answers.items()]
        out[-1] = dataclasses.replace(out[-1], threshold=self.threshold)  # the output: rules read it alone
        if not trace.stop or min(len(trace.stop[-1]), len(trace.fit)) < 3:
            return out
        gap, worse = learned_by_heart(trace)
        return [*out, self.number("loss", gap, LOW, 0.0), self.number("loss", worse, WORSE, self.worse)]

    def _between(self, a: Tensor, b: Tensor, t: Tensor) -> Tensor:
        """(pairs·points, …): from each row of ``a`` to that of ``b``."""
        shape = (1, len(t), *([1] * (a.dim() - 1)))
        return torch.lerp(a[:, None], b[:, None], t.view(shape)).flatten(0, 1)

    def judge(self, measures: Sequence[Measure], trace: Trace) -> list[Finding]:
        held = [m for m in measures if m.unit in (LOW, WORSE)]
        rough = [m for m in measures if m.unit == ROUGH and m.threshold is not None and m.value > m.threshold]
        if len(held) < 2 or not rough or not (held[0].value > 0 and held[1].value > self.worse):
            return []
        why = "between examples the output goes back and forth, and on held-out rows it does worse than a constant."
        entries = [T.WeightDecay(0.1), T.Dropout(0.3)]
        return [self.finding(rough[0], "the learned function is rough", why, entries, WARNING)]
