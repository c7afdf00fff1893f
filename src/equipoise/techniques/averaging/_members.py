"""What runs that consist of several members share."""

from __future__ import annotations

from ... import rng


def seed_of(seed: int, name: str, m: int) -> int:
    """The seed of member ``m``: the run's own for the first, so that it is the run without the entry; then drawn."""
    return seed if m == 0 else int(rng.source(seed, name, m).bits((1,))) & 0x7FFFFFFF
