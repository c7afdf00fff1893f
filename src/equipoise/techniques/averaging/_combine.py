"""One prediction out of several: what ensembles, snapshots and Monte-Carlo draws share."""

from __future__ import annotations

import torch
from torch import Tensor

MEANS = ("arithmetic", "geometric", "vote")


def combined(p: Tensor, mean: str) -> Tensor:
    """(M, n, K) to (n, K). `arithmetic`: Σ_m p_m/M, also for targets. For class probabilities: `geometric`, the
    normalized ∏_m p_m^(1/M), which is the softmax of the mean logits; `vote`: the share of members whose first choice
    a class is,
    with one more vote spread over all classes (Perks' prior), so that no class has probability 0."""
    if mean == "arithmetic":
        return p.mean(0)
    if mean == "geometric":
        return torch.softmax(p.clamp(min=torch.finfo(p.dtype).tiny).log().mean(0), -1)
    return (choices(p).sum(0) + 1 / p.shape[-1]) / (len(p) + 1)


def choices(p: Tensor) -> Tensor:
    """1 at each member's most probable class (the first of equals), (…, K)."""
    return (p.argmax(-1, keepdim=True) == torch.arange(p.shape[-1], device=p.device)).to(p.dtype)


def tasks_of(mean: str) -> tuple[str, ...]:
    """Targets have a mean; a geometric one and a vote need class probabilities."""
    return ("classify", "regress") if mean == "arithmetic" else ("classify",)
