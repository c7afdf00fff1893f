"""Sigmoid and tanh units where their slope is gone."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from .. import techniques as T
from ..probe import FAULT, WARNING, Finding, Measure, Probe, Trace
from ..technique import Technique

LAYER, STUCK = "share of saturated activations", "share of stuck units"


def relative_slope(a: Tensor, activation: str) -> Tensor:
    """f′(z)/max f′ from the activation a = f(z): tanh 1 − a², sigmoid 4a(1 − a)."""
    return 1 - a * a if activation == "tanh" else 4 * a * (1 - a)


def saturated(a: Tensor, activation: str, slope: float = 0.05) -> Tensor:
    """Boolean like ``a``: f′(z) below ``slope`` of its maximum (tanh |a| > .9747; sigmoid outside (.01266, .98734))."""
    return relative_slope(a.double(), activation) < slope


class Saturation(Probe):
    """Share of (unit, example) pairs of a sigmoid or tanh layer with f′(z)/max f′ < 0.05, at the start or at the end,
    where it is larger; and the share of units stuck: saturated on over 95 % of the examples, on one side.

    Rule: over 80 % a warning, over 95 % a fault, while less than 80 % of the constant's loss is explained: a net that
        has learned may hold its units at their ends.
    Known false alarms: gates and binary codes that are to be 0 or 1.
    Source: Glorot and Bengio (2010); decks D1, D3; equipoise METHODS A.1 (4).
    """

    follows = ("unscaled_inputs", "activation_profile", "gradient_spikes", "update_ratio")
    slope: float = 0.05
    warn: float = 0.8
    fault: float = 0.95
    stuck: float = 0.95
    learned: float = 0.8
    large: float = 3.0  # root mean square of inputs that need scaling

    def measure(self, trace: Trace) -> list[Measure]:
        out = []
        for k, layer in enumerate(trace.last.layers):
            if layer.activation in ("tanh", "sigmoid") and not layer.is_output:
                moments = (trace.first, trace.last)
                masks = [saturated(m.layers[k].a, layer.activation, self.slope) for m in moments]
                out.append(self.number(layer.name, max(m.double().mean() for m in masks), LAYER, self.warn))
                middle = 0.0 if layer.activation == "tanh" else 0.5
                above = [
                    (masks[-1] & side).double().mean(0) > self.stuck for side in (layer.a > middle, layer.a < middle)
                ]
                out.append(self.number(layer.name, torch.logical_or(*above).double().mean(), STUCK))
        return out

    def _remedy(self, trace: Trace) -> list[Technique]:
        """Of the first layer: large inputs are to be scaled; else its weights are too large."""
        large = trace.first.layers[0].x.double().square().mean() > self.large**2
        return [T.Standardize()] if large else [T.Xavier()]

    def judge(self, measures: Sequence[Measure], trace: Trace) -> list[Finding]:
        if trace.learned >= self.learned:
            return []
        return [
            self.finding(
                m,
                "units are saturated: their slope, and so the gradient through them, is gone",
                f"over {self.warn:.0%} of the layer passes on less than a twentieth of the gradient.",
                self._remedy(trace) if k == 0 else [T.Xavier()],
                FAULT if m.value > self.fault else WARNING,
            )
            for k, m in enumerate(m for m in measures if m.unit == LAYER)
            if m.value > self.warn
        ]
