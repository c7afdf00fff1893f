"""Choices that are known to hurt and are trained all the same: one line each, with the better order or entry."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from .probes.batch_norm_statistics import BatchNormStatistics, standard_errors
from .recipe import Recipe
from .sites import Network
from .sites.adopt import BATCH_NORMS
from .technique import Technique

if TYPE_CHECKING:
    from .data import Data

DROPS = {"Dropout", "SpatialDropout", "DropBlock", "DropConnect", "Shakeout"}  # noise that grows with the signal
NORMS = {"BatchNorm", "GhostBatchNorm"}  # statistics of a batch
LEAST = BatchNormStatistics.least  # values per unit and batch


def warnings_for(recipe: Recipe, data: Data, net: Network, batch_size: int) -> list[str]:
    """Every risk of training ``recipe`` on ``data``; ``net``: the program's network, with its techniques in place."""
    on = {t.key: t for t in recipe.active() if not _is_off(t)}
    return [*wrong_labels(recipe, data), *drops_before_batch_norm(on, net), *few_values(on, net, data, batch_size)]


def wrong_labels(recipe: Recipe, data: Data) -> list[str]:
    """Transformations of the inputs that this data does not declare label-preserving."""
    return [
        f"{t!r}: {data.name} does not declare {t.breaks} label-preserving; it may teach wrong labels "
        "(declare it with preserves=)."
        for t in recipe.active()
        if t.breaks is not None and t.breaks not in data.preserves
    ]


def drops_before_batch_norm(on: dict[str, Technique], net: Network) -> list[str]:
    """Noise whose variance a later batch norm learns in training and prediction does not have (Li et al. 2019).

    Only running averages are wrong: `population` and `pooled` statistics are taken with all noise off.
    """
    running = [s for s in net.sites if _batch_normalized(s, on, net) and _statistics(s, on) == "running"]
    if not running:
        return []
    last = running[-1]
    behind = [s.name for s in net.sites if s.index > last.index]
    out = []
    for t in on.values():
        acting = [s for s in net.sites if t.key in s.acts or t.key == s.affine_by]
        early = [s.name for s in acting if s.index <= last.index]
        if type(t).__name__ not in DROPS or not early:
            continue
        ways = [f"where={(behind[0] if len(behind) == 1 else tuple(behind))!r}"] if behind else ["a place behind it"]
        if last.norm_by in on and type(on[last.norm_by]).__name__ == "BatchNorm":
            ways.append("BatchNorm(statistics='population')")
        out.append(
            f"{t!r} acts at {', '.join(early)}, before the batch norm of {last.name}: prediction divides by a variance "
            f"that noise made in training. Better: {', or '.join(ways)}."
        )
    return out


def few_values(on: dict[str, Technique], net: Network, data: Data, batch_size: int) -> list[str]:
    """Batch statistics of fewer than 8 values per unit, m = rows × positions (Wu and He 2018)."""
    rows, fewest = min(batch_size, len(data.rows["fit"])), {}
    for s in net.sites:
        if not _batch_normalized(s, on, net):
            continue
        t: Any = on.get(s.norm_by or "")
        together = rows // max(rows // t.size, 1) if type(t).__name__ == "GhostBatchNorm" else rows
        m = together * _positions(s)
        who = repr(t) if t is not None else f"the model's own {s.normalized_by}"
        if m < LEAST and m < fewest.get(who, (LEAST, ""))[0]:
            fewest[who] = (m, s.name)
    return [
        f"{who}: {m} values per unit and batch at {name}, fewer than {LEAST}: the variance is off by "
        f"{standard_errors(m)[0]:.0%} in a typical batch. Better: larger batches, or LayerNorm()."
        for who, (m, name) in fewest.items()
    ]


def _is_off(t: Technique) -> bool:
    return bool(t.off) and all(getattr(t, k) == v for k, v in (t.off or {}).items())


def _batch_normalized(site: Any, on: dict[str, Technique], net: Network) -> bool:
    if site.norm_by is not None:
        return site.norm_by in on and type(on[site.norm_by]).__name__ in NORMS
    return bool(site.normalized_by) and isinstance(net.module.get_submodule(site.normalized_by), BATCH_NORMS)


def _statistics(site: Any, on: dict[str, Technique]) -> str:
    return getattr(on.get(site.norm_by or ""), "statistics", "running")


def _positions(site: Any) -> int:
    """How many values of a unit one row gives: pixels of a map, steps of a sequence."""
    shape = site.shapes[1]
    places = shape[1:] if site.kind == "conv" else shape[:-1]
    return math.prod(places)
