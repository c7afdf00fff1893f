"""What size of step is usual: what a proposed learning rate aims at."""

from __future__ import annotations

from ..probe import Trace

OWN_SCALE = ("Adam", "AdamW", "RMSprop", "Muon")  # steps as long as the rate, whatever the gradient


def _own_scale(trace: Trace) -> bool:
    return type(trace.entry("optimizer")).__name__ in OWN_SCALE


def usual_ratio(trace: Trace) -> float:
    """‖ΔW‖/‖W‖ of most steps of a course that trains well: some .02 where the optimizer divides the gradient by its own
    size, .006 where a step is the gradient times the rate."""
    return 0.02 if _own_scale(trace) else 6e-3


def usual_first(trace: Trace) -> float:
    """The same of its first steps."""
    return 0.035 if _own_scale(trace) else 7e-3
