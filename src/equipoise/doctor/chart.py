"""The chart: what the doctor's page draws, in few numbers."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ..probe import Layer, Trace
from ..probes.activation_profile import second_moment
from ..probes.gradient_profile import rms
from ..probes.update_shape import parabola

BINS = 40
VALUES = 1 << 16  # activations of a layer that are counted
FAR = 20.0


@dataclass(frozen=True)
class Histogram:
    """Shares of a hidden layer's activations in equal bins between the chart's edges, at the start and at the end; what
    lies outside is counted in the first and last bin."""

    layer: str
    activation: str
    start: Sequence[float]
    end: Sequence[float]


@dataclass(frozen=True)
class Depth:
    """A layer: mean a² at the start and the end, root mean square of ∂L/∂W after a few steps and at the end."""

    layer: str
    scale_start: float
    scale_end: float
    gradient_early: float
    gradient_end: float


@dataclass(frozen=True)
class Chart:
    """What is drawn, by layer and by step."""

    edges: tuple[float, float]  # of the histograms
    histograms: tuple[Histogram, ...]
    depths: tuple[Depth, ...]
    lengths: Sequence[float]  # c along the update Δ
    along: Sequence[float]  # L(θ + cΔ)
    parabola: tuple[float, float, float]  # w₀ + w₁c + w₂c²
    losses: Sequence[float]  # of the training batches, by step
    constant: float  # loss of the best constant
    learned: float  # 1 − L/L₀ at the end
    look_steps: Sequence[int]
    gradients: Mapping[str, Sequence[float]]  # layer → root mean square of ∂L/∂W at the looks
    ratio_steps: Sequence[int]
    ratios: Mapping[str, Sequence[float]]  # layer → ‖ΔW‖/‖W‖


def chart_of(trace: Trace) -> Chart:
    """The numbers of a trace that are drawn."""
    first, last = trace.first, trace.last
    hidden = [(a, b) for a, b in zip(first.layers, last.layers, strict=True) if not b.is_output]
    edges = _edges([a.a for a, _ in hidden], [b.a for _, b in hidden])
    histograms = [Histogram(b.name, b.activation, _shares(a.a, edges), _shares(b.a, edges)) for a, b in hidden]
    grads = trace.early.grads
    depths = [_depth(a, b, grads, last.grads) for a, b in zip(first.layers, last.layers, strict=True)]
    line = trace.line
    points = sorted([(0.0, line.start[0]), (1.0, line.end[0]), *zip(line.lengths, line.loss, strict=True)])
    names = {s.weight: s.name for s in last.layers}
    return Chart(
        edges, tuple(histograms), tuple(depths), [c for c, _ in points], [v for _, v in points],
        parabola(line.start, line.end), trace.losses, trace.constant, trace.learned, [v.step for v in trace.looks],
        {s.name: [v.gradients.get(s.name, math.nan) for v in trace.looks] for s in last.layers}, trace.ratio_steps,
        {names.get(w, w): r for w, r in trace.ratios.items() if len(r) == len(trace.ratio_steps)},
    )  # fmt: skip


def _some(a: Tensor) -> Tensor:
    """Up to VALUES finite activations, evenly spread."""
    v = a.detach().flatten()
    v = v[:: max(1, len(v) // VALUES)].double().cpu()
    return v[v.isfinite()]


def _edges(start: Sequence[Tensor], end: Sequence[Tensor]) -> tuple[float, float]:
    """All but one in a hundred of each layer's activations, on both sides together; at most FAR times as far as at the
    start, so that what exploded does not hide the rest."""
    low, high = _ends(start)
    reach = FAR * max(abs(low), abs(high)) or math.inf
    later = _ends(end)
    low, high = max(min(low, later[0]), -reach), min(max(high, later[1]), reach)
    return (low, high) if high > low else (low - 0.5, high + 0.5)


def _ends(every: Sequence[Tensor]) -> tuple[float, float]:
    found = [v.quantile(torch.tensor([0.005, 0.995], dtype=v.dtype)).tolist() for a in every if len(v := _some(a))]
    return (min(v[0] for v in found), max(v[1] for v in found)) if found else (0.0, 0.0)


def _shares(a: Tensor, edges: tuple[float, float]) -> list[float]:
    v = _some(a)
    if not len(v):
        return [math.nan] * BINS
    return (torch.histc(v.clamp(*edges), BINS, *edges) / len(v)).tolist()


def _depth(a: Layer, b: Layer, early: Mapping[str, Tensor], end: Mapping[str, Tensor]) -> Depth:
    grads = [rms(g[b.weight]) if b.weight in g else math.nan for g in (early, end)]
    return Depth(b.name, second_moment(a.a), second_moment(b.a), *grads)
