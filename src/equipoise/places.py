"""The places of a step where a number can become non-finite, and what mends each, as entries of a recipe."""

from __future__ import annotations

import dataclasses
from typing import NamedTuple

from .plan import Member


class Place(NamedTuple):
    """What is not finite: ``kind`` is input, technique, layer, code (the network's own, between layers), loss, penalty,
    gradient or update; ``where`` names it, ``key`` the technique, ``inside`` the layer a technique acted in."""

    kind: str
    where: str
    key: str = ""
    inside: str = ""

    def __str__(self) -> str:
        inside = f" at layer {self.inside!r}" if self.inside else ""
        return {
            "input": f"{self.where}",
            "technique": f"what {self.key} makes of {self.where}{inside}",
            "layer": f"the output of layer {self.where}",
            "code": f"what the network computes after {self.where}, outside of its layers",
            "loss": f"the loss that {self.key} computes from finite outputs",
            "penalty": f"the penalty of {self.key}",
            "gradient": f"the gradient of parameter {self.where!r}",
            "update": f"the update of parameter {self.where!r} by {self.key}",
        }[self.kind]


def remedy(place: Place, member: Member, step: int) -> str:
    """The likely way out, as an entry of the recipe where one mends it."""
    own = {k: t for k, t in member.techniques.items() if k == place.key}
    entry = repr(own[place.key]) if own else place.key
    if place.kind == "input":
        return "Mend or drop such rows; Encode() fills missing values of a table."
    if place.kind == "technique" and place.where == "the batch":
        return f"Rescale the inputs (their range is too wide for {entry}), or leave it out."
    if place.kind == "technique" and own and own[place.key].slot == "normalization":
        return f"Give {place.key.partition('/')[0]} a larger epsilon, or leave it out."
    if place.kind in ("technique", "penalty"):
        return f"Leave {entry} out, or weaken it."
    if place.kind == "gradient":
        return "A finite loss with an infinite slope is a root, a logarithm or a division at 0: keep away from it. " + (
            calmer(member)
        )
    if step == 0 and place.kind != "update":
        return f"It is so before anything was learned: {_first_aid(member)}."
    return calmer(member)


def _first_aid(member: Member) -> str:
    slots = {t.slot for t in member.techniques.values()}
    entries = [e for slot, e in (("inputs", "Standardize()"), ("initialization", "He()")) if slot not in slots]
    return f"put in {' and '.join(entries)}" if entries else "start smaller, SmallRandom()"


def calmer(member: Member) -> str:
    """A lower rate, and bounded gradients where the recipe does not bound them."""
    optimizer = next(t for t in member.techniques.values() if t.slot == "optimizer")
    rate = optimizer.knobs()["rate"]
    lower = dataclasses.replace(optimizer, rate=float(f"{rate / 10:.3g}"))
    clipped = any(type(t).__name__ == "ClipGradients" for t in member.techniques.values())
    return f"Lower the rate: {lower!r}." + ("" if clipped else " Or bound the gradients: ClipGradients(1.0).")
