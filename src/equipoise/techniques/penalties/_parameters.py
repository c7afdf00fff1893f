"""Which parameters a penalty means: the affine weights, unless the recipe asks for more."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

ON = ("weights", "affine", "all")


def penalized(net: Any, names: Iterable[str], on: str) -> list[str]:
    """Those of ``names`` that are penalized: "weights" of affine maps (matrices and kernels), "affine" = their biases
    too, "all" = the normalization parameters too."""
    if on == "weights":
        return [n for n in names if n in net.affine_weights]
    exempt = _of_normalizations(net) if on == "affine" else frozenset()
    return [n for n in names if n not in exempt]


def _of_normalizations(net: Any) -> frozenset[str]:
    norms = [m for m in net.module.modules() if "Norm" in type(m).__name__]
    theirs = {id(p) for m in norms for p in m.parameters(recurse=False)}
    return frozenset(n for n, p in net.module.named_parameters() if id(p) in theirs)
