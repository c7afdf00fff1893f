from __future__ import annotations

from ...technique import At, Batch, Technique, knob


class LabelSmoothing(Technique):
    """Spread a little of every target over all classes.

    y ← (1 − ε) y + (ε/C) Σ_c y_c;  for a label that is (1 − ε) of it, and ε/C for every class

    Knobs: `epsilon` = ε in [0, 1); 0 switches it off.
    Shapes: targets y (B, C), hard or mixed; a row without a label (all zeros) stays without.
    Errors: refused for regression.
    Trade: the network is not driven to probabilities of 1: logits stay bounded, variance down, better calibrated; bias
        up, the loss on hard labels may rise while accuracy does too.
    Source: Szegedy et al. (2016); deck D1 (noise on targets).
    """

    tasks = ("classify",)
    phase = "mixed"
    off = {"epsilon": 0.0}
    epsilon: float = knob(0.1, low=0.0, high=1.0, open="high")

    def batch(self, batch: Batch, at: At) -> Batch:
        y, e = batch.y, self.epsilon
        return batch._replace(y=((1 - e) * y + e / y.shape[-1] * y.sum(-1, keepdim=True)).to(y.dtype))
