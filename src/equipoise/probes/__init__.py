"""The doctor's instruments, found by convention: ``probes/dead_units.py`` holds the class ``DeadUnits``."""

from __future__ import annotations

from functools import cache
from importlib import import_module
from pathlib import Path

from ..probe import Probe

# The order in which a first cause is named: what spoils everything after it comes first.
ORDER = (
    "unscaled_inputs", "minibatch_shift", "split_shift", "wrong_targets", "squashed_outputs", "symmetry",
    "recurrent_radius", "activation_profile", "gradient_profile", "batch_norm_statistics",
    "dropout_before_batch_norm", "gradient_spikes", "update_ratio", "saturation", "dead_units", "few_rows",
)  # fmt: skip


@cache
def names() -> tuple[str, ...]:
    """The names of all probes: those of ORDER first, then by name."""
    found = sorted(f.stem for f in Path(__file__).parent.glob("[a-z]*.py"))
    return tuple(sorted(found, key=lambda n: (ORDER.index(n) if n in ORDER else len(ORDER), n)))


def find(name: str) -> type[Probe]:
    """The class of a probe."""
    module = import_module(f"{__name__}.{name}")
    return getattr(module, name.title().replace("_", ""))


def every() -> tuple[Probe, ...]:
    """One of each, with its default thresholds."""
    return tuple(find(n)() for n in names())
