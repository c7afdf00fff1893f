"""The unit of extension: a technique is frozen data (its knobs and options) plus pure stage functions.

A subclass declares its fields with `knob` and `option`, its class attributes (slot, off, conflicts, …) and overrides
the stages it acts in; its docstring has the equation and the sections Knobs, Shapes, Trade and Source. Discovery,
contract tests, recipes and the catalogue page follow from that.
"""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Callable, Mapping
from functools import cache
from typing import TYPE_CHECKING, Any, ClassVar, Self, dataclass_transform

import torch
from torch import Tensor

from .errors import EquipoiseError
from .stage import STAGES, At, Batch, EpochVerdict, Params, State, checked_knob, checked_option, knob, option

if TYPE_CHECKING:
    from .data import Data


@dataclass_transform(frozen_default=True, field_specifiers=(knob, option))
@dataclasses.dataclass(frozen=True, repr=False)
class Technique:
    """Base of every technique. Stages are pure: no global state, no own random numbers, no in-place writes to
    arguments, no Python branch on a knob or a tensor (inside the step knobs are 0-d float64 tensors)."""

    slot: ClassVar[str | None] = None  # a slot holds at most one entry; None: one of a class per place
    place: ClassVar[tuple[str, ...]] = ()  # options that name the place (where, on): one entry of a class per value
    off: ClassVar[Mapping[str, float] | None] = None  # knobs at which training does not notice the technique
    random: ClassVar[bool] = False  # draws noise: gets a stream of its own
    per_unit: ClassVar[bool] = False  # `affine` draws per input unit: maps that read one tensor share the draw
    turn: ClassVar[int] = 0  # order inside a stage: smaller first, then the recipe's order
    phase: ClassVar[str] = "raw"  # `batch` stage: "raw" (before the preparation) or "mixed" (after it)
    tasks: ClassVar[tuple[str, ...]] = ("classify", "regress")
    kinds: ClassVar[tuple[str, ...]] = ("table", "image", "sequence")  # data it makes sense for
    breaks: ClassVar[str | None] = None  # transformation the data must declare label-preserving ("flip_horizontal")
    host_draws: ClassVar[str | None] = None  # "step" or "row": uniforms handed to `host` per step or per row
    needs_activations: ClassVar[bool] = False  # `penalty` wants the hidden activations
    conflicts: ClassVar[Mapping[str, str]] = {}  # technique name → why they exclude each other
    needs: ClassVar[tuple[str, ...]] = ()  # names of techniques or slots it cannot do without
    companions: ClassVar[tuple[str, ...]] = ()  # what its source changes together with it

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        dataclasses.dataclass(frozen=True, repr=False)(cls)

    def __post_init__(self) -> None:
        name, off = type(self).__name__, self.off or {}
        for f in dataclasses.fields(self):
            value = getattr(self, f.name)
            checked = checked_knob(name, f, value, off) if f.metadata["knob"] else checked_option(name, f, value)
            object.__setattr__(self, f.name, checked)
        self.check()

    def check(self) -> None:
        """Rules between fields; overridden where there are any. Raises EquipoiseError."""

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(f'{k}={v!r}' for k, v in self.changed().items())})"

    @classmethod
    def fields(cls, kind: str | None = None) -> tuple[dataclasses.Field[Any], ...]:
        """All fields, or only the "knobs" or the "options"."""
        every = dataclasses.fields(cls)
        return tuple(f for f in every if kind is None or f.metadata["knob"] == (kind == "knobs"))

    def changed(self) -> dict[str, Any]:
        """The fields that differ from their defaults (what is written into repr and YAML)."""
        return {f.name: v for f in self.fields() if (v := getattr(self, f.name)) != f.default}

    def knobs(self) -> dict[str, float]:
        return {f.name: getattr(self, f.name) for f in self.fields("knobs")}

    def bind(self, values: Mapping[str, Any]) -> Self:
        """The same technique with knobs as given (tensors inside the step), unchecked."""
        copy = object.__new__(type(self))
        copy.__dict__.update(self.__dict__, **values)
        return copy

    def switched_off(self) -> Self:
        """The same technique with the knobs of ``off`` at their neutral values."""
        if self.off is None:
            raise EquipoiseError(f"{type(self).__name__} has no neutral setting: leave it out of the recipe instead.")
        return dataclasses.replace(self, **self.off)

    @property
    def structure(self) -> tuple[Any, ...]:
        """What a program is compiled for: the class and the options, without the knobs."""
        return (type(self).__name__, *((f.name, getattr(self, f.name)) for f in self.fields("options")))

    @property
    def key(self) -> str:
        """Name of the place: unique inside a recipe; names the noise stream and the entries of the state."""
        return "/".join([type(self).__name__, *(_text(getattr(self, p)) for p in self.place)])

    @classmethod
    def stages(cls) -> tuple[str, ...]:
        """The stages this class acts in, in the order of STAGES."""
        return _stages_of(cls)

    def acts_in(self) -> tuple[str, ...]:
        """The stages this entry acts in: the class's, narrowed where an option picks among them."""
        return self.stages()

    @classmethod
    def fits(cls) -> bool:
        """Does it learn anything from the fit rows?"""
        return _overrides(cls, "fit")

    @classmethod
    def family(cls) -> str:
        """The folder of the catalogue it lives in."""
        return cls.__module__.rsplit(".", 2)[-2]

    def runs(self, seed: int, rows: Tensor) -> list[tuple[int, Tensor]]:
        """One run → (seed, fit rows) of each member to train."""
        return [(seed, rows)]

    def fit(self, x: Any, y: Tensor, data: Data) -> dict[str, Tensor]:
        """Learn named tensors from the fit rows, found again as ``fitted`` or ``at.fitted``. A preparation sees what
        the preparations before it made of x; every other technique sees raw x, y."""
        return {}

    def prepare(self, x: Any, fitted: Mapping[str, Tensor]) -> Any:
        """Raw inputs (B, …) to prepared ones."""
        return x

    def prepare_target(self, y: Tensor, fitted: Mapping[str, Tensor]) -> Tensor:
        """Targets in the user's units (B, T) to the ones the objective sees."""
        return y

    def restore(self, y: Tensor, fitted: Mapping[str, Tensor]) -> Tensor:
        """The inverse of `prepare_target`, on predictions (…, T)."""
        return y

    def widths(self, outputs: int, task: str) -> tuple[int, ...]:
        """Targets: output widths for so many classes or targets; the first is a reference network's."""
        return (outputs,)

    def decode(self, output: Tensor, task: str) -> Tensor:
        """Targets: network outputs (…, width) to what the objective reads: logits (…, C), targets (…, T)."""
        return output

    def build(self, net: Any) -> None:
        """Add this technique to a sites.Network (a copy of the user's model)."""

    def init(self, params: Params, at: Callable[[Any], At]) -> Params:
        """Start values. ``at(site)`` tells about a site, ``at(None)`` about the whole network: ``.noise``,
        ``.net.sites``; ``.forward(params)`` → (output, buffers) runs the first batch."""
        return params

    def host(self, u: Any) -> Any:
        """Uniforms, numpy (steps,) or (steps, rows), to what `batch` finds in ``at.host``; knobs are floats here."""
        return u

    def batch(self, batch: Batch, at: At) -> Batch:
        """Augment, mix or smooth one minibatch."""
        return batch

    def schedule(self, t: Tensor, steps: int, rate: Tensor) -> Tensor:
        """Learning rate at step numbers ``t`` (K,) of ``steps`` in all, from the rate so far (K,)."""
        return rate

    def weights(self, params: Params, at: Callable[[Any], At]) -> Params:
        """Noise on weights shared by a batch; ``at(site)`` as in `init`."""
        return params

    def affine(self, x: Tensor, w: Tensor, b: Tensor | None, at: At) -> Tensor:
        """Replace a site's affine map; ``at.site.affine(x, w, b)`` is the plain one. ``at.noise`` None: prediction."""
        return at.site.affine(x, w, b)

    def act(self, x: Tensor, at: At) -> Tensor:
        """Noise on a site's input (B, …). ``at.noise`` None: prediction."""
        return x

    def loss(self, output: Any, batch: Batch, at: At) -> Tensor:
        """Objective: network outputs and batch to a scalar, the weighted mean over rows. ``at.forward(x)`` calls
        the network again in the same pass; ``at.forward(x, weights)`` with other weights, without noise, gradient or
        trace."""
        raise NotImplementedError

    def probabilities(self, output: Tensor) -> Tensor:
        """Objective: network outputs (…, C) to class probabilities (regression: the identity)."""
        return torch.softmax(output, -1)

    def penalty(self, params: Params, at: At) -> Tensor:
        """A scalar added to the loss."""
        raise NotImplementedError

    def gradient(self, value_and_grad: Callable[..., Any]) -> Callable[..., Any]:
        """Wrap the function params → (gradients, (loss, auxiliary))."""
        return value_and_grad

    def grads(self, grads: Params, params: Params, at: At) -> Params:
        """Change the gradients before the optimizer sees them."""
        return grads

    def start(self, params: Params, net: Any) -> State:
        """The technique's own state before step 0: a dict of tensors, or of dicts by parameter name."""
        return {}

    def update(self, grads: Params, state: State, params: Params, at: At) -> tuple[Params, State]:
        """Gradients to new parameters and new state, at the learning rate ``at.rate`` of step ``at.t``."""
        return params, state

    def project(self, params: Params, at: At) -> Params:
        """Map the updated parameters back to where they are wanted."""
        return params

    def epoch(self, history: list[dict[str, float]], state: State) -> tuple[State, EpochVerdict]:
        """After each epoch, on the host, per run: own JSON-able state and what to do."""
        return state, EpochVerdict()

    def finish(self, params: Params, buffers: Params, at: At) -> tuple[Params, Params]:
        """At the end: the weights and buffers to keep. ``at.forward(params, buffers)`` yields (buffers after one pass
        in training mode without noise, rows) for every minibatch of the clean fit rows."""
        return params, buffers

    def fold(self, plain: Any, net: Any, tensors: Mapping[str, Tensor]) -> list[str]:
        """Write the deterministic rule into the user's plain model; returns notes on what had to be kept."""
        return []

    def sites(self, net: Any) -> list[Any]:
        """The sites it acts at (`act`, `affine`); overridden where not all."""
        return net.select(getattr(self, "where", "all"))

    def predict(self, forward: Callable[..., Tensor], x: Any, at: At) -> Tensor:
        """Replace the prediction rule; ``forward(x, sample=None | int)`` gives probabilities or target units."""
        return forward(x)


class Empty(Technique):
    """A slot the user emptied on purpose: ``Empty('inputs')`` keeps the default recipe from filling it again."""

    of: str = option("inputs")

    @property
    def key(self) -> str:
        return f"Empty/{self.of}"


def slot_of(t: Technique) -> str | None:
    """The slot an entry holds; an `Empty` holds the one it names."""
    return t.of if isinstance(t, Empty) else t.slot


def section(cls: type[Technique], name: str) -> str:
    """The text of a section ("Trade", "Shapes", "Errors", "Source") of the docstring, the one place where it stands."""
    lines = (inspect.getdoc(cls) or "").splitlines()
    inside, text = False, []
    for line in lines:
        if line.startswith(f"{name}:"):
            inside, line = True, line.removeprefix(f"{name}:")
        elif inside and line and not line.startswith(" "):
            break
        if inside:
            text.append(line.strip())
    return " ".join(t for t in text if t)


@cache  # it is asked for every run and block of steps
def _stages_of(cls: type[Technique]) -> tuple[str, ...]:
    aliases = {"prepare": ("prepare", "prepare_target"), "rate": ("schedule",), "update": ("start", "update")}
    return tuple(s for s in STAGES if any(_overrides(cls, m) for m in aliases.get(s, (s,))))


def _overrides(cls: type[Technique], method: str) -> bool:
    own = getattr(cls, method)
    return callable(own) and own is not getattr(
        Technique, method
    )  # a field may carry a stage's name: BatchNorm(affine=…)


def _text(value: Any) -> str:
    return ",".join(map(str, value)) if isinstance(value, tuple) else str(value)


__all__ = [
    "STAGES",
    "At",
    "Batch",
    "Empty",
    "EpochVerdict",
    "Params",
    "State",
    "Technique",
    "knob",
    "option",
    "section",
    "slot_of",
]
