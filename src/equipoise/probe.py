"""The doctor's unit of extension: a probe measures a recorded training, and judges its own measures by a separate rule.

A probe is frozen data (its thresholds, as fields) plus two pure functions: ``measure(trace)`` gives every number,
always; ``judge(measures, trace)`` gives the findings, none for a healthy set-up. What a training leaves is a `Trace`.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, dataclass_transform

import torch
from torch import Tensor

from .technique import Params, Technique, section

if TYPE_CHECKING:
    from .probes._along import Along
    from .probes._told import Told

FAULT, WARNING = "fault", "warning"


@dataclass(frozen=True)
class Measure:
    """One number: of which probe, where (a layer's name), in which unit; ``threshold`` None where no rule reads it."""

    probe: str
    where: str
    value: float
    unit: str
    threshold: float | None = None

    def to_dict(self) -> dict[str, Any]:
        return dataclasses.asdict(self)


@dataclass(frozen=True)
class Finding:
    """A verdict: symptom, where, the number behind it, the threshold and why, what mends it, known false alarms."""

    probe: str
    severity: str  # fault or warning
    where: str
    value: float
    unit: str
    threshold: float | None
    symptom: str
    reason: str  # why this threshold
    proposed: tuple[Technique, ...]
    false_alarms: str
    source: str
    course: Mapping[str, Any] = dataclasses.field(default_factory=dict)  # what to change that is no recipe entry

    @property
    def why(self) -> str:
        value = f"{self.value:.3g} {self.unit}".strip()
        return f"{self.symptom}: {value}; {self.reason} Known false alarms: {self.false_alarms}"


@dataclass(frozen=True)
class Layer:
    """One affine map in one forward pass of the probe batch (n rows), units last: what positions (of a convolution, of
    steps in time) there are lies in the rows. ``a`` is ``z`` where no activation follows."""

    name: str
    x: Tensor  # its input as it came
    z: Tensor  # its output (rows, units), after the normalization that a technique put there
    a: Tensor  # after the activation (rows, units)
    activation: str  # relu, tanh, sigmoid; another function's name; "" where none follows
    weight: str  # name of its (first) weight among the parameters
    is_output: bool
    ends_branch: bool  # the last map of a residual branch
    bypassed: bool  # inside a residual branch: signal and gradient have a way around it


@dataclass(frozen=True)
class Look:
    """A small look in passing: loss on the fixed rows, mean a² of each layer, root mean square of each ∂L/∂W."""

    step: int
    loss: float
    scales: Mapping[str, float]
    gradients: Mapping[str, float]


class Micro(NamedTuple):
    """Gradients g_i of n equal parts of b rows of the probe batch, elements j: what is needed of their spread."""

    squares: Tensor  # ‖g_i‖², (n,)
    mean: float  # ‖ḡ‖²
    rows: int  # b
    snr: float  # mean over j of ḡ_j²/(mean_i g_ij² − ḡ_j²); NaN before the end


@dataclass(frozen=True)
class Moment:
    """The training at one step, seen on the fixed probe batch without noise and augmentation. At the end layers show
    up to 512 rows, before it some of those that the gradient is taken on; the loss is that of all of them at the start
    and at the end, and of those that the gradient is taken on between."""

    step: int
    params: Params
    buffers: Params
    layers: tuple[Layer, ...]
    norms: Mapping[str, Tensor]  # batch norm → what it is shown in prediction mode (rows, channels); {} before the end
    rows: int  # that layers show
    loss: float  # of the objective, without penalties, with the statistics of the batch
    evaluated: float  # the same in prediction mode; NaN before the end
    grads: Params
    gradient: Callable[[Params], tuple[Params, float]]  # params → gradients and loss on the same rows as ``grads``
    micro: Micro

    def weights(self) -> list[tuple[Layer, Tensor, Tensor]]:
        """(layer, W, ∂L/∂W), matrices with units first, of the layers that are trained."""
        rows = lambda v: v.detach().double().flatten(1)  # noqa: E731
        trained = [s for s in self.layers if s.weight in self.grads and self.params[s.weight].dim() > 1]
        return [(s, rows(self.params[s.weight]), rows(self.grads[s.weight])) for s in trained]


@dataclass(frozen=True)
class Function:
    """The trained network in prediction mode."""

    x: tuple[Tensor, ...]  # prepared probe rows; empty where an input is no floating tensor
    respond: Callable[[tuple[Tensor, ...]], Mapping[str, Tensor]]  # prepared rows → each layer's activation, by row
    score: Callable[[Mapping[str, Tensor]], float]  # layer → 0/1 by unit kept; accuracy or R² on the probe rows
    chance: float  # that score of the best constant
    widths: Mapping[str, int]  # hidden layers whose units can be taken out → their number
    output: Tensor  # what it gives the objective for the probe rows (rows, …)


@dataclass(frozen=True)
class Sizes:
    """Per-example losses on `stop` (seeds, rows) after equal courses."""

    quarter: Tensor
    half: Tensor
    whole: Tensor
    augmented: Tensor  # on half of the rows
    augmentation: Technique


@dataclass(frozen=True)
class Trace:
    """What a short training left behind. Arrays have one entry per step unless said otherwise."""

    moments: tuple[Moment, ...]  # step 0, a few steps, halfway, the end
    looks: tuple[Look, ...]  # every 50 steps, and at the moments
    constant: float  # loss of the best constant prediction on the probe batch
    uniform: float  # loss of outputs of 0 where classes are told (all are equally likely then), else as ``constant``
    losses: Sequence[float]  # of the training batches, as they were trained on
    norms: Sequence[float]  # Euclidean norm of the whole gradient, before clipping
    ratios: Mapping[str, Sequence[float]]  # weight → ‖ΔW‖/‖W‖ at ``ratio_steps``
    ratio_steps: Sequence[int]
    turn: Moment  # halfway, where a schedule has not yet taken the rate to nothing
    updated: Params  # parameters one actual update after it
    line: Along  # the loss along that update
    inputs: tuple[Tensor, ...]  # prepared fit rows, floating ones only
    roles: Mapping[str, Tensor]  # role → what its prepared inputs are like (rows, channels): means per example
    batches: tuple[tuple[tuple[Tensor, ...], Tensor], ...]  # (inputs, targets) of training batches, clean and prepared
    hidden: Mapping[str, Sequence[Tensor]]  # layer → its output (rows, units) in each of ``batches``
    fit: Tensor  # per-example loss in prediction mode at the end, on as many fit rows
    stop: Sequence[Tensor]  # as stop rows, at the end and at steps before it
    rows: Mapping[str, int]  # role → how many
    told: Told | None  # what rows of fit and of stop tell of each other's targets; None where there are too few
    baseline: float  # loss on stop rows of the constant that is best on fit, in the units of ``stop``
    function: Function  # the network as it is at the end
    sizes: Sizes | None  # equal courses on fewer rows, where asked for
    recipe: tuple[Technique, ...]
    batch_size: int
    drops: bool  # noise on activations (a technique's or the model's own) acts in training
    failed: str  # where a loss became non-finite, or ""

    @property
    def first(self) -> Moment:
        return self.moments[0]

    @property
    def early(self) -> Moment:
        """After a few steps: what starts at zero on purpose has moved."""
        return self.moments[min(1, len(self.moments) - 1)]

    @property
    def last(self) -> Moment:
        return self.moments[-1]

    @property
    def learned(self) -> float:
        """1 − L/L₀ on the probe batch at the end, L₀ the loss of the best constant: free of the loss's scale. 1 is all,
        0 nothing, below 0 worse than a constant; −∞ where training failed."""
        if self.failed or not math.isfinite(self.last.loss):
            return -math.inf
        return 1.0 - self.last.loss / self.constant if self.constant > 0 else 0.0

    def entry(self, slot: str) -> Technique | None:
        return next((t for t in self.recipe if t.slot == slot), None)

    @property
    def first_ratio(self) -> float:
        """‖ΔW‖/‖W‖ of the first update, median of the layers; NaN where there is none."""
        found = sorted(r[0] for r in self.ratios.values() if r and math.isfinite(r[0]) and r[0] > 0)
        return found[len(found) // 2] if found else math.nan

    def at_rate(self, factor: float) -> tuple[Technique, ...]:
        """The recipe's optimizer with its learning rate multiplied by ``factor``."""
        optimizer = self.entry("optimizer")
        if optimizer is None or not math.isfinite(factor) or factor <= 0:
            return ()
        rate = float(f"{optimizer.knobs()['rate'] * factor:.2g}")
        return (dataclasses.replace(optimizer, rate=rate),)


@dataclass_transform(frozen_default=True)
class Probe:
    """Base of every instrument. Fields are its thresholds; the docstring has the equation and the sections Rule, Known
    false alarms and Source. Its name in findings is that of its module."""

    follows: ClassVar[tuple[str, ...]] = ()  # probes whose findings explain this one's: then it is no first cause

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        dataclasses.dataclass(frozen=True)(cls)

    @classmethod
    def name(cls) -> str:
        return cls.__module__.rsplit(".", 1)[-1]

    def measure(self, trace: Trace) -> list[Measure]:
        """Every number of this instrument; no verdict."""
        raise NotImplementedError

    def judge(self, measures: Sequence[Measure], trace: Trace) -> list[Finding]:
        """The findings that the measures give; ``trace`` tells how far training came and what the recipe holds."""
        return []

    def number(self, where: str, value: Any, unit: str, threshold: float | None = None) -> Measure:
        return Measure(self.name(), where, float(value), unit, threshold)

    def finding(
        self,
        m: Measure,
        symptom: str,
        reason: str,
        proposed: Sequence[Technique] = (),
        severity: str = FAULT,
        course: Mapping[str, Any] | None = None,
    ) -> Finding:
        alarms, source = section(type(self), "Known false alarms"), section(type(self), "Source")  # pyright: ignore[reportArgumentType]
        return Finding(
            self.name(), severity, m.where, m.value, m.unit, m.threshold, symptom, reason, tuple(proposed), alarms,
            source, course or {},
        )  # fmt: skip


def of_unit(measures: Sequence[Measure], unit: str) -> dict[str, Measure]:
    """The measures in one unit, by place."""
    return {m.where: m for m in measures if m.unit == unit}


def slope(y: Sequence[float]) -> float:
    """Ordinary least squares of y on 0 … n−1; NaN for fewer than two."""
    v = torch.tensor(list(y), dtype=torch.float64)
    if len(v) < 2:
        return math.nan
    t = torch.arange(len(v), dtype=torch.float64)
    t = t - t.mean()
    return float((t * v).sum() / (t * t).sum())


def ratio(a: Any, b: Any) -> float:
    """a/b; NaN for 0/0, ±∞ for another division by zero."""
    a, b = float(a), float(b)
    if b != 0:
        return a / b
    return math.nan if a == 0 or math.isnan(a) else math.copysign(math.inf, a)
