"""Which start values are usual: what is proposed where a start is at fault; and whether a start is a trained net."""

from __future__ import annotations

from .. import techniques as T
from ..probe import Trace
from ..technique import Technique

SOME, LITTLE, HALF = 0.1, 0.02, 0.5  # of the constant's loss, and of what rows tell
DEEP = 8  # hidden ReLU layers from which a gain of 1 leaves too little: half of the second moment is lost in each


def usual_start(trace: Trace) -> Technique:
    """Xavier where units are sigmoid or tanh; orthogonal weights elsewhere, which keep lengths through linear maps and
    from state to state; He in deep ReLU nets, whose signal these would halve too often."""
    hidden = [s.activation for s in trace.first.layers if not s.is_output]
    if any(a in ("sigmoid", "tanh") for a in hidden):
        return T.Xavier()
    return T.He() if hidden.count("relu") > DEEP else T.Orthogonal()


def begun(trace: Trace) -> bool:
    """Is the start trained already, as for fine-tuning? It explains over half of what rows tell of each other's targets
    (and over 2 %): a drawn start may explain a third of targets that are easily told, and of targets that hardly are a
    trained one explains no tenth. Where too few rows are there to tell: over a tenth of the constant's loss."""
    explained = 1 - trace.first.loss / trace.constant if trace.constant > 0 else 0.0
    return explained > (SOME if trace.told is None else max(LITTLE, HALF * trace.told.share))
