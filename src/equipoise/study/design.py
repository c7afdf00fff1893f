"""Which configurations a study runs: orthogonal designs of on/off techniques and of factors with several levels.

In an orthogonal two-level design of N configurations every effect, mean(on) − mean(off), has variance 4σ²/N, for up to
N − 1 effects at once (Box, Hunter & Hunter 2005, ch. 5–6). pydoe builds the columns; this module chooses the design,
keeps declared interactions apart, randomizes, and says what each estimate is mixed up (aliased) with.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, reduce
from typing import Any

import numpy as np

from ..errors import EquipoiseError
from .columns import assign, base_design

Array = np.ndarray[Any, np.dtype[Any]]
_ROMAN = {1: "II", 2: "III", 3: "IV", 4: "V", 5: "VI", 6: "VII"}
LARGEST = 32  # configurations
_MOST_LISTED = 4  # partial aliases named one by one; beyond that their number is said


@dataclass(frozen=True)
class Factor:
    """One question of a study: a name and its levels, the first of which is "off" (``none``, written out)."""

    name: str
    levels: tuple[str, ...]

    @property
    def rows(self) -> tuple[str, ...]:
        """Names of its effects: the factor's own where it is on or off, else ``Factor[level]`` per further level."""
        if len(self.levels) == 2 and self.levels[0] == "none":
            return (self.name,)
        return tuple(f"{self.name}[{level}]" for level in self.levels[1:])


@dataclass(frozen=True, eq=False)
class Design:
    """N configurations of K factors, and how they were drawn.

    ``matrix``: (N, K) level numbers, 0 = off. ``interactions``: declared pairs of factor numbers. ``resolution``:
    III, IV, V, … or ``full``. ``columns``: each factor's column of the unrandomized design (``abc`` is the product of
    a, b and c). ``coding``: the level each sign of that column got, the minus sign first; four-valued columns have
    four. ``order``: the order in which configurations are run. ``seed``: what all of that was drawn from.
    """

    name: str
    resolution: str
    factors: tuple[Factor, ...]
    matrix: Array
    interactions: tuple[tuple[int, int], ...]
    columns: tuple[str, ...]
    coding: tuple[tuple[int, ...], ...]
    order: tuple[int, ...]
    seed: int

    @property
    def configurations(self) -> int:
        return len(self.matrix)

    @cached_property
    def rows(self) -> tuple[str, ...]:
        """Names of the main effects, in the order of ``weights``."""
        return tuple(name for factor in self.factors for name in factor.rows)

    @cached_property
    def interaction_rows(self) -> tuple[tuple[str, str], ...]:
        """The two effects of every declared interaction, in the order of ``weights``, after the main effects."""
        pairs = [itertools.product(self.factors[j].rows, self.factors[k].rows) for j, k in self.interactions]
        return tuple(pair for block in pairs for pair in block)

    @cached_property
    def coded(self) -> Array:
        """(N, K) float: −1 off, +1 on; a factor of several levels is +1 at any of its further levels."""
        return np.where(self.matrix > 0, 1.0, -1.0)

    def terms(self, levels: Array) -> Array:
        """The model at any level rows (M, K): (M, 1 + effects + declared interactions), coefficients are effects.

        Columns: 1; per further level l of a factor D_l = [level = l] − share of l in the design; per declared
        interaction 2·D_j·D_k. For two levels D = ±½, so an effect is mean(on) − mean(off) and an interaction half the
        difference between one technique's effect with the other on and with the other off.
        """
        levels = np.atleast_2d(levels)
        main = [self._contrasts(levels, k) for k in range(len(self.factors))]
        pairs = [_products(main[j], main[k]) for j, k in self.interactions]
        return np.concatenate([np.ones((len(levels), 1)), *main, *pairs], axis=1)

    def at(self, levels: Array) -> Array:
        """Weights (M, N) over configurations whose sums are the fitted means at level rows (M, K)."""
        return self.terms(levels) @ self._solution

    @cached_property
    def weights(self) -> Array:
        """(effects + declared interactions, N): w with effect = Σ_c w_c y_c, least squares of the whole model.

        In an orthogonal two-level design w = ±2/N.
        """
        w = self._solution[1:]
        return np.where(np.abs(w) < 1e-12, 0.0, w)  # a configuration that has no part in a contrast has none at all

    @cached_property
    def aliases(self) -> dict[str, str]:
        """What each estimate is aliased with among interactions that were not declared, by name of the row."""
        names = [*self.rows, *(f"{a}×{b}" for a, b in self.interaction_rows)]
        open_pairs = [p for p in itertools.combinations(range(len(self.factors)), 2) if p not in self.interactions]
        main = [self._contrasts(self.matrix, k) for k in range(len(self.factors))]
        found: list[list[tuple[str, float]]] = [[] for _ in names]
        for j, k in open_pairs:
            share = self.weights @ _products(main[j], main[k])  # what a unit of the interaction adds to each estimate
            largest = share[np.arange(len(share)), np.abs(share).argmax(1)]
            for row, a in zip(found, largest, strict=True):
                if abs(a) > 1e-9:
                    row.append((f"{self.factors[j].name}×{self.factors[k].name}", float(a)))
        return {name: _alias(row, name in self.rows) for name, row in zip(names, found, strict=True)}

    def describe(self) -> dict[str, Any]:
        """Everything needed to repeat the design, as JSON."""
        return {
            "name": self.name,
            "configurations": self.configurations,
            "resolution": self.resolution,
            "factors": [{"name": f.name, "levels": list(f.levels)} for f in self.factors],
            "aliases": self.aliases,
            "interactions": [list(pair) for pair in self.interactions],
            "matrix": self.matrix.tolist(),
            "columns": list(self.columns),
            "coding": [list(c) for c in self.coding],
            "order": list(self.order),
            "seed": self.seed,
        }

    @cached_property
    def _solution(self) -> Array:
        """(X'X)⁻¹X' of the model at the configurations run."""
        x = self.terms(self.matrix)
        return np.linalg.solve(x.T @ x, x.T)

    @cached_property
    def _shares(self) -> tuple[Array, ...]:
        return tuple(
            np.bincount(self.matrix[:, k], minlength=len(f.levels)) / len(self.matrix)
            for k, f in enumerate(self.factors)
        )

    def _contrasts(self, levels: Array, k: int) -> Array:
        further = np.arange(1, len(self.factors[k].levels))
        return (levels[:, k : k + 1] == further) - self._shares[k][1:]


def make_design(
    factors: Sequence[Factor],
    *,
    interactions: Sequence[tuple[int, int]] = (),
    configurations: int | None = None,
    seed: int = 0,
) -> Design:
    """A design of 1 to 16 factors with 2 to 4 levels each.

    Default number of configurations N: every combination where there are at most 16 (N = 2^K for K ≤ 4: repeating a
    configuration under one seed would repeat the same bits, so precision comes from seeds instead); else 16 for
    K ≤ 8, folded-over Plackett–Burman in 24 for K ≤ 12 and 32 for K ≤ 16, all of resolution IV or better: main effects
    are clear of two-factor interactions. Factors of 3 or 4 levels take two columns and their product (Addelman 1962),
    in 16 configurations where that keeps main effects clear, else 32; where it cannot, the aliases say so (resolution
    III). Where declared interactions cannot be told apart in the default number, it is 32. ``configurations``: 8 (for
    K > 4 a screening of resolution III), 12 (Plackett & Burman 1946, a quick look of resolution III, up to 11 factors),
    16, 24, 32.

    ``interactions``: pairs of factor numbers that get an estimate of their own. Columns are assigned by a permutation
    search that maximizes the D-efficiency of main effects and declared interactions together, which puts declared
    interactions of a regular design into distinct alias classes. Signs (which half of a column is "off"), columns
    (among equally good assignments) and run order are drawn from ``seed`` (numpy's Philox). The signs are those that
    make a run drawn at random the baseline, every factor off: δ and the recommendation rest on a baseline that was
    measured.

    Raises EquipoiseError where the factors, the size or the interactions do not fit, naming what would.
    """
    factors = tuple(factors)
    pairs = _check(factors, interactions)
    rng = np.random.Generator(np.random.Philox(seed % 2**64))
    base = base_design(tuple(len(f.levels) for f in factors), configurations)
    slots = assign(base, [len(f.levels) for f in factors], pairs, rng)
    cells = np.stack([base.cells[s] for s in slots], axis=1)
    off = cells[int(rng.integers(len(cells)))]  # the run drawn to be the baseline: it is always among those trained
    coding = [
        _coding(len(f.levels), int(base.values[s]), int(o), rng) for f, s, o in zip(factors, slots, off, strict=True)
    ]
    matrix = np.stack([np.array(c)[cells[:, k]] for k, c in enumerate(coding)], axis=1)
    order = rng.permutation(len(matrix))
    matrix.setflags(write=False)
    design = Design(
        name=base.name,
        resolution=_resolution(matrix),
        factors=factors,
        matrix=matrix,
        interactions=pairs,
        columns=tuple(base.columns[s] for s in slots),
        coding=tuple(coding),
        order=tuple(int(i) for i in order),
        seed=seed,
    )
    x = design.terms(matrix)
    if np.linalg.matrix_rank(x) < x.shape[1]:
        if configurations is None and len(matrix) < LARGEST:
            return make_design(factors, interactions=pairs, configurations=LARGEST, seed=seed)
        raise EquipoiseError(
            f"{len(pairs)} declared interactions of {len(factors)} factors cannot be told apart in {len(matrix)} "
            f"configurations; declare fewer, or ask for more configurations ({LARGEST} is the most)"
        )
    return design


def d_efficiency(x: Array) -> float:
    """det(X'X)^(1/p)/N: 1 for an orthogonal design in ±1 columns."""
    sign, log = np.linalg.slogdet(x.T @ x)
    return float(np.exp(log / x.shape[1]) / len(x)) if sign > 0 else 0.0


def _check(factors: tuple[Factor, ...], interactions: Sequence[tuple[int, int]]) -> tuple[tuple[int, int], ...]:
    if not 1 <= len(factors) <= 16:
        raise EquipoiseError(f"{len(factors)} factors; a design holds 1 to 16: leave out those you doubt least")
    for factor in factors:
        if not 2 <= len(factor.levels) <= 4 or len(set(factor.levels)) < len(factor.levels):
            raise EquipoiseError(f"factor {factor.name!r} has levels {factor.levels}; it needs 2 to 4 different ones")
    names = [name for f in factors for name in f.rows]
    if len(set(names)) < len(names):
        raise EquipoiseError(f"factors {', '.join(names)}: every factor needs a name of its own")
    pairs = tuple((min(j, k), max(j, k)) for j, k in interactions)
    if len(set(pairs)) < len(pairs) or any(j == k or j < 0 or k >= len(factors) for j, k in pairs):
        raise EquipoiseError(f"interactions {list(interactions)}: different pairs of factors 0 to {len(factors) - 1}")
    return pairs


def _products(d: Array, e: Array) -> Array:
    return 2.0 * (d[:, :, None] * e[:, None, :]).reshape(len(d), -1)


def _coding(levels: int, values: int, off: int, rng: np.random.Generator) -> tuple[int, ...]:
    """The level of each value of a column: value ``off`` is off, the others in random order; the value left over by
    three levels is "off" again."""
    others = iter(rng.permutation([*range(1, levels), *[0] * (values - levels)]))
    return tuple(0 if v == off else int(next(others)) for v in range(values))


def _resolution(matrix: Array) -> str:
    """One more than the design's strength t: in any t columns every combination comes in its proportional number."""
    n, k = matrix.shape
    shares = [np.bincount(column) / n for column in matrix.T]
    for t in range(2, k + 1):
        for columns in itertools.combinations(range(k), t):
            share = reduce(np.multiply.outer, [shares[c] for c in columns])
            where = np.ravel_multi_index(tuple(matrix[:, c] for c in columns), share.shape)
            if not np.allclose(np.bincount(where, minlength=share.size), n * share.ravel()):
                return _ROMAN[t - 1]
    return "full"


def _alias(partners: list[tuple[str, float]], is_main: bool) -> str:
    if not partners:
        return f"clear of {'' if is_main else 'other '}two-factor interactions"
    if all(abs(abs(a) - 1.0) < 1e-9 for _, a in partners):
        return " ".join(f"{'+' if a > 0 else '−'}{name}" for name, a in partners)
    if len(partners) <= _MOST_LISTED:
        return " ".join(f"{'+' if a > 0 else '−'}{abs(a):.2f}·{name}" for name, a in partners)
    return f"up to ±{max(abs(a) for _, a in partners):.2f} of each of {len(partners)} two-factor interactions"
