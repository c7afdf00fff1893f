"""The published thresholds of SageMaker Debugger and AutoTrainer, computed on the doctor's traces.

Facts only: thresholds and what they are compared with, as the tools document or carry them; nothing of their code. What
a trace cannot tell is left out: Debugger's Overtraining, which wants more evaluations than a short training has, and
the patience part of its PoorWeightInitialization. AutoTrainer's gate reads the accuracy on `stop` at the end; its
accuracy over time is the share of fixed fit rows whose true class gets over half of the probability.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import pairwise

import torch
from torch import Tensor

from equipoise.probe import Layer, Moment, Trace

# SageMaker Debugger, built-in rules with their defaults
VARIANCE_RATIO, GRADIENT_RANGE, FIRST_STEPS = 10.0, 1e-3, 10
VANISHING = 1e-7
INACTIVE, LAYER = 0.01, 0.5
OUTSIDE = {"tanh": (-9.4999, 9.4999), "sigmoid": (-23.0, 16.99999)}
UPDATE_LOW, UPDATE_HIGH = 1e-8, 10.0
OVERFIT, OVERFIT_PATIENCE = 0.1, 1
IMAGE_MEAN, IMAGE_SAMPLES = 0.2, 500
RTOL, ATOL = 1e-5, 1e-8

# AutoTrainer
VANISH_RATIO, VANISH_NORM, EXPLODE_RATIO = 1e-3, 1e-4, 70.0
DYING = 0.7
ACCURACY = 0.6
SLOW = 0.01
SWING, SWINGS = 0.03, 0.2
LOSS, OUTPUT = 1e3, 10.0


# --- SageMaker Debugger -----------------------------------------------------------------------------------------------
def debugger(trace: Trace, fit: Sequence[Tensor]) -> list[str]:
    """The built-in rules that fire; ``fit``: per-example losses of fit rows, beside those of ``trace.stop``."""
    rules = {
        "PoorWeightInitialization": _poor_start(trace),
        "VanishingGradient": any(_mean(g) < VANISHING for m in trace.moments for _, _, g in m.weights()),
        "ExplodingTensor": bool(trace.failed) or not all(map(math.isfinite, (*trace.losses, *trace.norms))),
        "DeadRelu": any(_dead(s) for s in trace.last.layers),
        "SaturatedActivation": any(_saturated(s) for s in trace.last.layers),
        "WeightUpdateRatio": _updates(trace.ratios),
        "UnchangedTensor": _unchanged(trace.first, trace.early),
        "Overfit": overfits([float(v.mean()) for v in fit], [float(v.mean()) for v in trace.stop]),
        "CheckInputImages": any(_off_centre(x) for x in trace.inputs),
    }
    return [name for name, fires in rules.items() if fires]


def _mean(g: Tensor) -> float:
    return float(g.abs().mean())


def _poor_start(trace: Trace) -> bool:
    moments = [m for m in trace.moments if m.step <= FIRST_STEPS]
    for m in moments:
        variances = [float(s.z.double().var()) for s in m.layers if s.activation == "relu"]
        if len(variances) > 1 and max(variances) > VARIANCE_RATIO * min(variances):
            return True
        ranges = [float(g.flatten().quantile(0.95) - g.flatten().quantile(0.05)) for _, _, g in m.weights()]
        if ranges and min(ranges) < GRADIENT_RANGE:
            return True
    return False


def _dead(layer: Layer) -> bool:
    if layer.activation != "relu":
        return False
    active = (layer.a > 0).double().mean(0)
    return float((active < INACTIVE).double().mean()) > LAYER


def _saturated(layer: Layer) -> bool:
    if layer.activation not in OUTSIDE:
        return False
    low, high = OUTSIDE[layer.activation]
    inside = ((layer.z > low) & (layer.z < high)).double().mean(0)
    return float((inside < INACTIVE).double().mean()) > LAYER


def _updates(ratios: Mapping[str, Sequence[float]]) -> bool:
    seen = [r for each in ratios.values() for r in each if not math.isnan(r)]
    return any(not UPDATE_LOW <= r <= UPDATE_HIGH for r in seen)


def _unchanged(first: Moment, early: Moment) -> bool:
    names = [s.weight for s, _, _ in first.weights()]
    return any(torch.allclose(first.params[n], early.params[n], rtol=RTOL, atol=ATOL) for n in names)


def overfits(fit: Sequence[float], held_out: Sequence[float]) -> bool:
    """(L_held-out − L_fit)/L_fit over the threshold at more evaluations in turn than patience allows."""
    run = 0
    for a, b in zip(fit, held_out, strict=True):
        run = run + 1 if b > (1 + OVERFIT) * a else 0
        if run > OVERFIT_PATIENCE:
            return True
    return False


def _off_centre(x: Tensor) -> bool:
    images = x.dim() == 4 and len(x) >= IMAGE_SAMPLES
    return images and bool((x.mean((0, 2, 3)).abs() > IMAGE_MEAN).any())


# --- AutoTrainer ------------------------------------------------------------------------------------------------------
def autotrainer(trace: Trace, fit: Sequence[Tensor], accuracy: float | None) -> list[str]:
    """The problems it reports; ``accuracy`` at the end, None for regression, which its gate lets through."""
    stuck = accuracy is None or accuracy < ACCURACY
    sure = [] if accuracy is None else [_sure(v) for v in fit]
    ends = [(float(g[0][2].norm()), float(g[-1][2].norm())) for m in trace.moments if len(g := m.weights()) > 1]
    rules = {
        "gradient vanish": stuck and any(a < VANISH_RATIO * b and a < VANISH_NORM for a, b in ends),
        "gradient explode": stuck and any(not a <= EXPLODE_RATIO * b for a, b in ends),
        "dying ReLU": stuck and _dying(trace.last),
        "unstable loss": bool(trace.failed) or any(not v < LOSS for v in trace.losses),
        "slow convergence": stuck and slow(sure),
        "oscillation": oscillates(sure),
        "large outputs": any(_mean(s.a) >= OUTPUT for s in trace.first.layers if not s.is_output),
    }
    return [name for name, fires in rules.items() if fires]


def _dying(m: Moment) -> bool:
    if not any(s.activation == "relu" for s in m.layers):
        return False
    g = torch.cat([g.flatten() for _, _, g in m.weights()])
    return float((g == 0).double().mean()) >= DYING


def _sure(losses: Tensor) -> float:
    """Share of examples whose true class has over half of the probability."""
    return float((losses < math.log(2)).double().mean())


def slow(accuracy: Sequence[float]) -> bool:
    """No evaluation gains a hundredth of accuracy over the one before."""
    gains = [b - a for a, b in pairwise(accuracy)]
    return bool(gains) and max(gains) < SLOW


def oscillates(accuracy: Sequence[float]) -> bool:
    """Falls of at least .03 from a local maximum to the minimum after it: at least a fifth as many as evaluations."""
    falls, top = 0, -math.inf
    for i, v in enumerate(accuracy):
        at_end = i + 1 == len(accuracy)
        if i and v < accuracy[i - 1]:
            top = max(top, accuracy[i - 1])
            if at_end or accuracy[i + 1] >= v:  # the minimum
                falls, top = falls + (top - v >= SWING), -math.inf
    return bool(accuracy) and falls >= SWINGS * len(accuracy)
