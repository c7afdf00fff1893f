"""How much a layer's gradient changes when the layers before it take their step."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from ..probe import Measure, Probe, Trace, ratio
from ..technique import Params

SHIFT, RELATIVE, COSINE = "‖G − G′‖", "‖G − G′‖/‖G‖", "cosine of G and G′"


def shifts(
    gradient: Callable[[Params], tuple[Params, float]],
    old: Params,
    new: Params,
    layers: Sequence[Sequence[str]],
    measured: Sequence[int],
) -> list[tuple[float, float, float]]:
    """(‖G − G′‖, ‖G − G′‖/‖G‖, cosine) of the ``measured`` ones among the layers, each named by its parameters, in
    order: G with all parameters old, G′ with those of all layers before it new, on the same batch."""
    g, _ = gradient(old)
    out, before = [], dict(old)
    for i, names in enumerate(layers):
        if i in measured:
            there, _ = gradient(before)
            mine, other = ([v[k].double() for k in names] for v in (g, there))
            change = sum(float((a - b).square().sum()) for a, b in zip(mine, other, strict=True)) ** 0.5
            inner = sum(float((a * b).sum()) for a, b in zip(mine, other, strict=True))
            norm, there_norm = (sum(float(a.square().sum()) for a in v) ** 0.5 for v in (mine, other))
            out.append((change, ratio(change, norm), ratio(inner, norm * there_norm)))
        before |= {k: new[k] for k in names}
    return out


class InternalCovariateShift(Probe):
    """ICS_i = ‖G_i − G′_i‖ of up to five layers for the actual update, on the probe batch: G with the weights as they
    were, G′ after the layers before i took their step; relative, and their cosine.

    Rule: none: a measure, not a fault (batch norm does not lower it).
    Known false alarms: it judges nothing.
    Source: Santurkar et al. (2018), Definition 2.1; deck D4; equipoise METHODS A.2.
    """

    layers: int = 5

    def measure(self, trace: Trace) -> list[Measure]:
        m = trace.turn
        places = [s for s, _, _ in m.weights()]
        paths = [s.weight.rpartition(".")[0] + "." for s in places]
        groups = [[k for k in m.grads if k.startswith(path)] if path != "." else list(m.grads) for path in paths]
        every = max(1, -(-len(places) // self.layers))
        chosen = range(0, len(places), every)
        out = []
        for i, found in zip(chosen, shifts(m.gradient, m.params, trace.updated, groups, chosen), strict=True):
            for value, unit in zip(found, (SHIFT, RELATIVE, COSINE), strict=True):
                out.append(self.number(places[i].name, value, unit))
        return out
