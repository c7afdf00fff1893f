"""What stages are given and give back, and how a technique declares its fields."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from torch import Tensor

from .errors import EquipoiseError, nearest
from .rng import Noise

Params = dict[str, Tensor]
State = dict[str, Any]

STAGES = (
    "runs", "prepare", "build", "init", "batch", "rate", "weights", "affine", "act", "loss", "penalty", "gradient",
    "grads", "update", "project", "epoch", "finish", "predict",
)  # fmt: skip


def knob(default: float, *, low: float = -math.inf, high: float = math.inf, open: str = "") -> Any:
    """A number that may differ between runs of one program. ``open`` names the excluded ends: "low", "high", "both"."""
    return dataclasses.field(default=default, metadata={"knob": True, "low": low, "high": high, "open": open})


def option(default: Any, *, choices: tuple[Any, ...] | None = None) -> Any:
    """Anything static that decides a shape or a branch; ``choices`` lists the allowed values, if they are few."""
    return dataclasses.field(default=default, metadata={"knob": False, "choices": choices})


def checked_knob(name: str, f: dataclasses.Field[Any], value: Any, off: Mapping[str, float]) -> float:
    """The knob ``f`` of technique ``name`` as a float inside its range; infinity only where it means "off"."""
    low, high, open_ = f.metadata["low"], f.metadata["high"], f.metadata["open"]
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise EquipoiseError(f"{name}({f.name}={value!r}): {f.name} is a number, default {f.default!r}.")
    above = value > low if open_ in ("low", "both") else value >= low
    below = value < high if open_ in ("high", "both") else value <= high
    infinite = math.isinf(value) and off.get(f.name) != value
    if infinite or not (above and below):  # also refuses NaN
        left, right = "(" if open_ in ("low", "both") else "[", ")" if open_ in ("high", "both") else "]"
        neutral = f" {f.name}={off[f.name]:g} switches it off." if f.name in off else ""
        raise EquipoiseError(
            f"{name}({f.name}={value!r}): {f.name} must lie in {left}{low:g}, {high:g}{right}, "
            f"default {f.default:g}.{neutral}"
        )
    return float(value)


def checked_option(name: str, f: dataclasses.Field[Any], value: Any) -> Any:
    """The option ``f`` of technique ``name``: one of its choices where it has some, lists as tuples."""
    value = tuple(value) if isinstance(value, list) else value
    choices = f.metadata["choices"]
    if choices and not any(value == c and isinstance(value, bool) == isinstance(c, bool) for c in choices):
        hint = nearest(value, [c for c in choices if isinstance(c, str)]) if isinstance(value, str) else ""
        raise EquipoiseError(f"{name}({f.name}={value!r}): {f.name} is one of {', '.join(map(repr, choices))}.{hint}")
    names = value if isinstance(value, tuple) else (value,)
    if f.name == "where" and not (names and all(isinstance(n, str) for n in names)):
        raise EquipoiseError(f"{name}(where={value!r}): where is 'all', or names of places such as 'layers.*'.")
    try:
        hash(value)
    except TypeError as e:
        raise EquipoiseError(f"{name}({f.name}={value!r}): an option is a number, text or list of them.") from e
    return value


class Batch(NamedTuple):
    """One minibatch inside the step. Rows first."""

    x: Any  # (B, …) tensor, or a tuple of them
    y: Tensor  # classes: probabilities (B, C); regression: (B, T)
    w: Tensor  # sample weights (B,)

    def map_x(self, f: Callable[[Tensor], Tensor]) -> Batch:
        """The batch with ``f`` applied to every floating input."""
        one = lambda v: f(v) if v.is_floating_point() else v  # noqa: E731
        return self._replace(x=tuple(one(v) for v in self.x) if isinstance(self.x, tuple) else one(self.x))

    def select(self, rows: slice) -> Batch:
        """Some of its rows."""
        x = tuple(v[rows] for v in self.x) if isinstance(self.x, tuple) else self.x[rows]
        return Batch(x, self.y[rows], self.w[rows])


class At(NamedTuple):
    """Where and when a stage is called: everything it may know beside its arguments."""

    net: Any = None  # the sites.Network
    noise: Noise | None = None  # None: the deterministic rule (prediction)
    site: Any = None  # the sites.Site of `act` and `affine`, and of `init` and `weights` where asked for one
    t: Any = 0.0  # step number from 0, 0-d float64 tensor
    rate: Any = 0.0  # learning rate of this step, 0-d float64 tensor
    host: Tensor | None = None  # what `host` drew for this step
    fitted: Mapping[str, Tensor] = {}  # the technique's fitted tensors
    state: Mapping[str, Any] = {}  # the technique's own state
    activations: Sequence[Tensor] = ()  # `penalty`: inputs of the hidden sites, in order
    batch: Batch | None = None  # `init`: the first batch, prepared
    forward: Any = None  # `init`, `loss`, `finish`: a function given by the caller, see there
    task: str = "classify"
    training: bool = False  # True in the training step; False in prediction and its Monte-Carlo samples
    rows: Tensor | None = None  # numbers (B,) of the batch's rows in the data: their identity over epochs
    epoch: Any = 0.0  # epoch from 0, 0-d float64 tensor
    steps: Any = 1.0  # steps in all, 0-d float64 tensor
    params: Mapping[str, Tensor] = {}  # `loss`: the parameters of this pass


class EpochVerdict(NamedTuple):
    """What a technique decides after an epoch."""

    stop: bool = False  # end this run
    best: bool = False  # this epoch's weights are the ones to restore at the end
    factor: float = 1.0  # multiplies the learning rate from now on
    reason: str = ""
