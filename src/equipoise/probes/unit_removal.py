"""What is left of the accuracy when some hidden units are taken out."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch

from .. import techniques as T
from ..probe import WARNING, Finding, Measure, Probe, Trace, ratio
from ._held_out import LOW, WORSE, learned_by_heart

SHARES = (0.1, 0.3, 0.5)


def left(without: float, whole: float, chance: float) -> float:
    """(A_without − A_chance)/(A_whole − A_chance): 1 where the units are not missed, 0 where nothing is left; NaN where
    there is nothing to lose."""
    return ratio(without - chance, whole - chance) if whole > chance else math.nan


def kept(units: int, share: float, generator: torch.Generator) -> torch.Tensor:
    """0/1 for each of ``units``: round(share·units) of them, at least one, are 0, drawn without replacement."""
    mask = torch.ones(units)
    mask[torch.randperm(units, generator=generator)[: max(1, round(share * units))]] = 0.0
    return mask


class UnitRemoval(Probe):
    """Accuracy (regression: R²) on the probe batch, in prediction mode at the end, with a share of the units of every
    hidden layer held at 0, relative to chance: (A_without − A_chance)/(A − A_chance), mean of four draws.

    Rule: less than three quarters left without a tenth of the units, and less than .9^L over L layers, which units that
        work alone would leave, while the held-out loss is, with 95 %, over that of fit, and over that of the best
        constant: units that work only together have learned rows by heart.
    Known false alarms: layers of few units, where each one counts: layers under ten units are left whole.
    Source: Hinton et al. (2012); Morcos et al. (2018), single directions; decks D1, D3; docs/decisions/0016.
    """

    follows = (
        "generalization_gap", "wrong_targets", "few_rows", "unscaled_inputs", "activation_profile", "gradient_spikes",
        "saturation", "dead_units",
    )  # fmt: skip
    share: float = 0.1
    least: float = 0.75
    worse: float = 1.0
    draws: int = 4
    narrow: int = 10

    def measure(self, trace: Trace) -> list[Measure]:
        f = trace.function
        wide = {name: units for name, units in f.widths.items() if units >= self.narrow}
        if not wide or trace.failed:
            return []
        whole, g, out = f.score({}), torch.Generator().manual_seed(0), []
        for share in SHARES:
            scores = [f.score({name: kept(n, share, g) for name, n in wide.items()}) for _ in range(self.draws)]
            value = left(sum(scores) / self.draws, whole, f.chance)
            threshold = min(self.least, (1 - share) ** len(wide)) if share == self.share else None
            out.append(
                self.number("hidden layers", value, f"share of the accuracy left without {share:.0%}", threshold)
            )
        if not trace.stop or min(len(trace.stop[-1]), len(trace.fit)) < 3:
            return out
        gap, worse = learned_by_heart(trace)
        return [*out, self.number("loss", gap, LOW, 0.0), self.number("loss", worse, WORSE, self.worse)]

    def judge(self, measures: Sequence[Measure], trace: Trace) -> list[Finding]:
        if len(measures) < 5:
            return []
        first, gap, worse = measures[0], *measures[-2:]
        if not (
            first.threshold is not None and first.value < first.threshold and gap.value > 0 and worse.value > self.worse
        ):
            return []
        why = "units that fail without each other hold the rows they saw; on others a constant does better."
        return [self.finding(first, "hidden units are co-adapted", why, [T.Dropout(0.3)], WARNING)]
