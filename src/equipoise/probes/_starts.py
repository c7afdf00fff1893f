"""Which start values are usual: what is proposed where a start is at fault."""

from __future__ import annotations

from .. import techniques as T
from ..probe import Trace
from ..technique import Technique

DEEP = 8  # hidden ReLU layers from which a gain of 1 leaves too little: half of the second moment is lost in each


def usual_start(trace: Trace) -> Technique:
    """Xavier where units are sigmoid or tanh; orthogonal weights elsewhere, which keep lengths through linear maps and
    from state to state; He in deep ReLU nets, whose signal these would halve too often."""
    hidden = [s.activation for s in trace.first.layers if not s.is_output]
    if any(a in ("sigmoid", "tanh") for a in hidden):
        return T.Xavier()
    return T.He() if hidden.count("relu") > DEEP else T.Orthogonal()
