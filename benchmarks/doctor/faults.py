"""What is done to a healthy set-up: faults, in two severities, and controls that are odd but healthy.

A fault names what it is at the root: the probes of which one must stand first in the diagnosis. Whether a case counts
as faulty is told by its loss beside that of its healthy twin, never by these names.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from equipoise import techniques as T

from .changes import (
    at_rate,
    constant,
    dead,
    dropped,
    few,
    heavy,
    in_order,
    mislabelled,
    moved,
    plus,
    rescaled,
    scaled,
    sparse,
    squashed,
    tiny,
    zero_branches,
    zero_head,
)  # fmt: skip
from .programs import Program, Setup

MILD, STRONG = 0, 1

Change = Callable[[Setup, int], Setup]


@dataclass(frozen=True)
class Fault:
    """``causes``: probes that name the root. ``befalls``: whether it applies to a program."""

    name: str
    causes: frozenset[str]
    befalls: Callable[[Program], bool]
    change: Change


# --- faults -------------------------------------------------------------------------------------------------------
def _has(*traits: str) -> Callable[[Program], bool]:
    return lambda p: bool(p.traits & set(traits))


def _but(has: str, lacks: str) -> Callable[[Program], bool]:
    return lambda p: has in p.traits and lacks not in p.traits


def _lacks(*traits: str) -> Callable[[Program], bool]:
    return lambda p: not p.traits & set(traits)


def _always(p: Program) -> bool:
    return True


def _classifies(p: Program) -> bool:
    return "regress" not in p.traits


def _fault(name: str, causes: str, befalls: Callable[[Program], bool], change: Change) -> Fault:
    return Fault(name, frozenset(causes.split()), befalls, change)


FAULTS: tuple[Fault, ...] = (
    _fault(
        "rate high", "gradient_spikes update_ratio landscape update_shape", _always,
        lambda s, v: at_rate(s, (30, 1000)[v]),
    ),
    _fault("rate low", "update_ratio update_shape", _always, lambda s, v: at_rate(s, (1 / 300, 1e-4)[v])),
    _fault("unscaled inputs", "unscaled_inputs", _lacks("tokens"), lambda s, v: rescaled(s, (1, 30)[v])),
    _fault("constant start", "symmetry", _always, lambda s, v: constant(s, (0.1, 0.0)[v])),
    _fault(
        "start too small", "activation_profile gradient_profile", _lacks("normed"),
        lambda s, v: scaled(s, (0.1, 0.01)[v]),
    ),
    _fault(
        "start too large", "activation_profile gradient_profile", lambda p: "relu" in p.traits,
        lambda s, v: scaled(s, (5, 20)[v]),
    ),
    _fault(
        "saturated start", "saturation activation_profile gradient_profile", _has("tanh", "sigmoid"),
        lambda s, v: scaled(s, (10, 50)[v]),
    ),
    _fault("dead units", "dead_units", _but("relu", "residual"), lambda s, v: dead(s, (0.8, 1.0)[v])),
    _fault("sorted rows", "minibatch_shift", _always, lambda s, v: in_order(s, (0.5, 0.0)[v])),
    _fault(
        "wrong labels", "wrong_targets generalization_gap gradient_noise", _always,
        lambda s, v: mislabelled(s, (0.4, 1.0)[v]),
    ),
    _fault("few rows", "few_rows generalization_gap", _always, lambda s, v: few(s, (0.15, 0.06)[v])),
    _fault(
        "tiny batch", "batch_norm_statistics", _has("norm"), lambda s, v: tiny(s, (4, 2)[v])
    ),
    _fault(
        "dropout before norm", "dropout_before_batch_norm",
        lambda p: bool(p.traits & {"norm", "dropout-site"}) and "technique" not in p.traits,
        lambda s, v: dropped(s, (0.5, 0.8)[v]),
    ),
    _fault(
        "exploding cells", "recurrent_radius gradient_spikes gradient_profile activation_profile saturation",
        _has("recurrent"), lambda s, v: scaled(s, (8, 30)[v], recurrent=True),
    ),
    _fault("squashed outputs", "squashed_outputs", _classifies, squashed),
    _fault("split shift", "split_shift", _lacks("tokens"), lambda s, v: moved(s, (1.0, 3.0)[v])),
)  # fmt: skip


# --- healthy, but odd -------------------------------------------------------------------------------------------------
@dataclass(frozen=True)
class Control:
    """``trained``: the network is the program's own after training, given as a module."""

    name: str
    befalls: Callable[[Program], bool]
    change: Callable[[Setup], Setup]
    trained: bool = False


def _trainable(p: Program) -> bool:
    """A trained network can be handed on as it is: no technique normalizes inside, no target was scaled."""
    return "technique" not in p.traits and _classifies(p)


CONTROLS: tuple[Control, ...] = (
    Control("plain", _always, lambda s: s),
    Control("zero head", _always, zero_head),
    Control("zero branches", _has("residual"), zero_branches),
    Control("sparse", _has("relu"), sparse),
    Control("heavy tails", _has("numbers"), heavy),
    Control("warm-up", _always, lambda s: plus(s, T.WarmUp(0.001, 0.3))),
    Control("label smoothing", _classifies, lambda s: plus(s, T.LabelSmoothing(0.1))),
    Control("trained on", _trainable, lambda s: s, trained=True),
    Control("tuned gently", _trainable, lambda s: at_rate(s, 1e-3), trained=True),
)
