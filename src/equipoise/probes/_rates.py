"""What size of step is usual: what a proposed learning rate aims at."""

from __future__ import annotations

from ..probe import Trace

OWN_SCALE = ("Adam", "AdamW", "RMSprop", "Muon")  # steps as long as the rate, whatever the gradient


def usual_ratio(trace: Trace) -> float:
    """‖ΔW‖/‖W‖ of a step that trains well: some .015 where the optimizer divides the gradient by its own size, .003
    where a step is the gradient times the rate."""
    return 0.015 if type(trace.entry("optimizer")).__name__ in OWN_SCALE else 3e-3
