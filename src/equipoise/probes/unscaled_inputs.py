"""Inputs far from zero, or in units that differ by orders of magnitude."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from .. import techniques as T
from ..probe import Finding, Measure, Probe, Trace

OFFSET, SPREAD, SMALLEST, LARGEST = "largest |mean| in sd", "largest sd over smallest", "smallest sd", "largest sd"
EXTREME, CONDITION = "largest |x|", "condition of the covariance"


def channels(x: Tensor) -> Tensor:
    """(rows, channels): features of a table, channels of an image, features of a step in a sequence."""
    x = x.double()
    return x.movedim(1, -1).flatten(0, -2) if x.dim() == 4 else x.flatten(0, -2)


def scales(x: Tensor) -> tuple[Tensor, Tensor]:
    """(|mean| in sd, sd) of the channels of x (rows, channels) that are neither constant nor two-valued."""
    several = ((x != x.amin(0)) & (x != x.amax(0))).any(0)
    sd, mean = torch.std_mean(x[:, several], 0)
    return mean.abs() / sd, sd


def condition(x: Tensor) -> float:
    """κ = λ_max/λ_min of the covariance of x (rows, channels), over its non-zero eigenvalues: gradient descent on these
    inputs converges at ((κ − 1)/(κ + 1))² a step."""
    values = torch.linalg.eigvalsh(torch.cov(x.T).reshape(x.shape[1], x.shape[1]))
    kept = values[values > values.max() * x.shape[1] * torch.finfo(x.dtype).eps]
    return float(kept.max() / kept.min()) if len(kept) else math.nan


class UnscaledInputs(Probe):
    """Means and standard deviations of the channels as the network sees them, after the recipe's preparation.

    Rule: a |mean| over one sd, or sds that differ by more than a factor of 10 between channels, or an sd outside
        [0.1, 5]. Largest |x| is reported only: standardized inputs with |z| > 3 are healthy.
    Known false alarms: channels that are sparse on purpose; constant channels and indicators (two values) are not read.
    Source: LeCun et al. (1998), Efficient BackProp; decks D0, D1, D3; equipoise METHODS A.1 (12).
    """

    offset: float = 1.0
    spread: float = 10.0
    low: float = 0.1
    high: float = 5.0
    widest: int = 512  # channels up to which the covariance is taken apart

    def measure(self, trace: Trace) -> list[Measure]:
        out = []
        for i, raw in enumerate(trace.inputs):
            where = "inputs" if len(trace.inputs) == 1 else f"inputs[{i}]"
            x = channels(raw)
            mean, sd = scales(x)
            if len(sd):
                out += [
                    self.number(where, mean.max(), OFFSET, self.offset),
                    self.number(where, sd.max() / sd.min(), SPREAD, self.spread),
                    self.number(where, sd.min(), SMALLEST, self.low),
                    self.number(where, sd.max(), LARGEST, self.high),
                ]
            out.append(self.number(where, x.abs().max(), EXTREME))
            if x.shape[1] <= self.widest:
                out.append(self.number(where, condition(x), CONDITION))
        return out

    def judge(self, measures: Sequence[Measure], trace: Trace) -> list[Finding]:
        rules = {
            SPREAD: ("channels differ in scale", lambda v: v > self.spread),
            LARGEST: ("inputs are large", lambda v: v > self.high),
            SMALLEST: ("inputs are small", lambda v: v < self.low),
            OFFSET: ("inputs lie far from zero", lambda v: v > self.offset),
        }
        found: dict[str, Finding] = {}
        for unit, (symptom, beyond) in rules.items():
            for m in measures:
                if m.unit == unit and beyond(m.value) and m.where not in found:
                    reason = "one learning rate cannot serve directions so different, and the first layer saturates."
                    found[m.where] = self.finding(m, symptom, reason, [T.Standardize()])
        return list(found.values())
