"""The unrandomized columns of the orthogonal designs that ``design`` chooses from.

Regular fractions 2^(K−p) by generators of minimum aberration (Box, Hunter & Hunter 2005, table 6.22; Montgomery 2017,
table 8.14), Plackett & Burman (1946) with and without fold-over, and mixed levels by merging two columns and their
product into one of four values (Addelman 1962). Built by pydoe.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from ..errors import EquipoiseError

Array = np.ndarray[Any, np.dtype[Any]]

_TRIPLES = "abc abd acd bcd abe ace bce ade bde cde"
GENERATORS = {
    (8, 4): "abc",
    (8, 5): "ab ac",
    (8, 6): "ab ac bc",
    (8, 7): "ab ac bc abc",
    (16, 5): "abcd",
    (16, 6): "abc bcd",
    (16, 7): "abc bcd acd",
    (16, 8): "abc bcd acd abd",
    (32, 6): "abcde",
    (32, 7): "abcd abde",
    (32, 8): "abc abd bcde",
    (32, 9): "bcde acde abde abce",
    (32, 10): "abcd abce abde acde bcde",
    **{(32, k): " ".join([*_TRIPLES.split(), "abcde"][: k - 5]) for k in range(11, 17)},
}
"""Added columns of 2^(K−p) by (configurations, factors), beside the base columns a, b, c, …"""

_MOST_NODES = 20_000
_RESTARTS = 30


@dataclass(frozen=True, eq=False)
class Base:
    """Columns to hang factors on: ``cells``, each (N,) with values 0 … v−1, ``values`` v, and their names."""

    name: str
    cells: tuple[Array, ...]
    values: tuple[int, ...]
    columns: tuple[str, ...]

    def values_for(self, levels: int) -> int:
        """How many values the column of a factor with so many levels has: as many, or four for three."""
        return levels if levels in self.values else 4

    @cached_property
    def contrasts(self) -> tuple[Array, ...]:
        """Per column orthogonal contrasts (N, v − 1) with mean square 1; ±1 for two and four values."""
        return tuple(_orthogonal(v)[c] for v, c in zip(self.values, self.cells, strict=True))


def base_design(levels: tuple[int, ...], configurations: int | None) -> Base:
    """The base design for factors with so many levels in so many configurations, or in the default number of them."""
    k, combinations = len(levels), math.prod(levels)
    if (configurations is None and combinations <= 16) or configurations == combinations:
        return _full(levels)
    if configurations is not None and configurations > combinations:
        raise EquipoiseError(
            f"configurations={configurations}: the factors have only {combinations} combinations, and a repeated one "
            "would repeat the same bits under the same seed; ask for more seeds instead"
        )
    if max(levels) > 2:
        return _mixed(levels, configurations)
    configurations = configurations or (16 if k <= 8 else 24 if k <= 12 else 32)
    if configurations in (12, 24) and k <= (11 if configurations == 12 else 12):
        return _plackett_burman(configurations == 24)
    if (configurations, k) not in GENERATORS:
        sizes = [n for n, f in GENERATORS if f == k] + [n for n, most in ((12, 11), (24, 12)) if k <= most]
        fits = sorted(n for n in {*sizes, 2**k} if n <= min(32, 2**k))
        raise EquipoiseError(
            f"configurations={configurations} does not fit {k} factors; ask for {', '.join(map(str, fits))}"
        )
    return _regular(configurations, k)


def assign(base: Base, levels: list[int], pairs: Sequence[tuple[int, int]], rng: np.random.Generator) -> list[int]:
    """The column of each factor: random, and then, for declared interactions, the best of random hill climbs."""
    need = [base.values_for(n) for n in levels]
    best: tuple[float, list[int]] = (-np.inf, [])
    for _ in range(_RESTARTS if pairs else 1):
        slots = [-1] * len(levels)
        for values in set(need):
            free = rng.permutation([s for s in range(len(base.cells)) if base.values[s] == values])
            for k, s in zip([k for k, v in enumerate(need) if v == values], free, strict=False):
                slots[k] = int(s)
        score = _climb(base, slots, need, pairs) if pairs else 0.0
        if score > best[0] + 1e-9:
            best = (score, slots)
        if score > -1e-4:  # orthogonal: it cannot be better
            break
    return best[1]


def _climb(base: Base, slots: list[int], need: list[int], pairs: Sequence[tuple[int, int]]) -> float:
    """Swap the columns of two factors, or one for an unused column, while that raises the score; in place."""
    score = _score(base, slots, pairs)
    improved = True
    while improved and score < -1e-4:
        improved = False
        for k, s in itertools.product(range(len(slots)), range(len(base.cells))):
            if base.values[s] != need[k] or s == slots[k]:
                continue
            trial = [slots[k] if old == s else old for old in slots]
            trial[k] = s
            new = _score(base, trial, pairs)
            if new > score + 1e-9:
                slots[:], score, improved = trial, new, True
    return score


def _score(base: Base, slots: Sequence[int], pairs: Sequence[tuple[int, int]]) -> float:
    """log det of (X'X/N + 1e-6·I)/(1 + 1e-6) in ±1 columns, mains and declared interactions: 0 when orthogonal."""
    main = [base.contrasts[s] for s in slots]
    two = [(main[j][:, :, None] * main[k][:, None, :]).reshape(len(main[j]), -1) for j, k in pairs]
    x = np.concatenate([np.ones((len(main[0]), 1)), *main, *two], axis=1)
    gram = (x.T @ x / len(x) + 1e-6 * np.eye(x.shape[1])) / (1.0 + 1e-6)
    return float(np.linalg.slogdet(gram)[1])


def _full(levels: tuple[int, ...]) -> Base:
    from pydoe import fullfact

    cells = fullfact(np.array(levels)).astype(int).T
    name = f"2^{len(levels)} full factorial" if max(levels) == 2 else f"{'×'.join(map(str, levels))} full factorial"
    return Base(name, tuple(cells), levels, tuple("abcdefghijklmnop"[: len(levels)]))


def _regular(configurations: int, k: int) -> Base:
    letters = "abcde"[: configurations.bit_length() - 1]
    names = [*letters, *GENERATORS[configurations, k].split()]
    return Base(f"2^({k}-{k - len(letters)})", _cells(names, configurations), (2,) * k, tuple(names))


def _plackett_burman(folded: bool) -> Base:
    from pydoe import fold, pbdesign

    signs = pbdesign(11)
    if folded:
        half = np.repeat([1.0, -1.0], len(signs))[:, None]
        signs = np.hstack([fold(signs), half])  # the column that tells the halves apart holds a twelfth factor
    cells = tuple((signs.T > 0).astype(int))
    columns = tuple(str(c) for c in range(1, 12)) + (("fold",) if folded else ())
    return Base(f"{'folded-over ' if folded else ''}Plackett–Burman {len(signs)}", cells, (2,) * len(cells), columns)


def _mixed(levels: tuple[int, ...], configurations: int | None) -> Base:
    """Two-valued and four-valued columns, main effects clear of two-factor interactions where the size allows."""
    if configurations not in (None, 8, 16, 32):
        raise EquipoiseError(f"configurations={configurations}: factors of several levels need 8, 16 or 32")
    groups = sum(v > 2 for v in levels)
    sizes = [configurations] if configurations else [16, 32]
    found = None
    for clear, size in [*((True, n) for n in sizes), (False, sizes[-1])]:
        found = found or _words(groups, len(levels) - groups, size.bit_length() - 1, clear)
    if found is None:
        raise EquipoiseError(
            f"{groups} factors of several levels and {len(levels) - groups} of two do not fit {sizes[-1]} "
            f"configurations{'' if sizes[-1] == 32 else '; ask for 32'}: leave some out"
        )
    size, words = found
    names = ["+".join(_letters(w) for w in word) for word in words]
    cells = [_cells([_letters(w) for w in word[:2]], size) for word in words]
    merged = tuple(c[0] if len(c) == 1 else 2 * c[0] + c[1] for c in cells)
    title = " ".join(f"{v}^{n}" for v, n in ((4, groups), (2, len(levels) - groups)) if n)
    return Base(f"{title} in {size}, merged columns", merged, tuple(2 ** min(len(w), 2) for w in words), tuple(names))


def _words(groups: int, singles: int, k: int, clear: bool) -> tuple[int, list[tuple[int, ...]]] | None:
    """Words of GF(2)^k (bit masks of base columns): per four-valued factor (u, v, u+v), per two-valued one (u,).

    ``clear`` asks that no sum of words of two factors is a word of a third; without it words need only differ, and
    those that break the rule least often are taken first.
    """
    if 3 * groups + singles > 2**k - 1:
        return None
    nodes = itertools.count()

    def extend(chosen: list[tuple[int, ...]], sums: frozenset[int]) -> list[tuple[int, ...]] | None:
        if len(chosen) == groups + singles:
            return chosen
        used = {w for word in chosen for w in word}
        options: Iterator[tuple[int, ...]] = (
            ((u, v, u ^ v) for u, v in itertools.combinations(range(1, 2**k), 2) if v < u ^ v)
            if len(chosen) < groups
            else ((u,) for u in range(1, 2**k))
        )
        fresh = (word for word in options if not used.intersection(word))
        candidates = (
            (w for w in fresh if not sums.intersection(w))
            if clear
            else sorted(
                fresh, key=lambda word: len(sums.intersection(word)) + len({u ^ w for u in used for w in word} & used)
            )
        )
        for word in candidates:
            if next(nodes) > _MOST_NODES:
                return None
            result = extend([*chosen, word], sums | {u ^ w for u in used for w in word})
            if result:
                return result
        return None

    words = extend([], frozenset())
    return (2**k, words) if words else None


def _letters(word: int) -> str:
    return "".join(letter for bit, letter in enumerate("abcde") if word >> bit & 1)


def _cells(names: list[str], configurations: int) -> tuple[Array, ...]:
    """Columns of the regular fraction by name, 0 for minus and 1 for plus."""
    from pydoe import fracfact

    letters = "abcde"[: configurations.bit_length() - 1]
    words = [*letters, *(name for name in dict.fromkeys(names) if name not in list(letters))]
    sign = dict(zip(words, fracfact(" ".join(words)).T, strict=True))
    return tuple((sign[name] > 0).astype(int) for name in names)


def _orthogonal(values: int) -> Array:
    """Orthogonal contrasts of the values 0 … v−1, (v, v − 1), each with mean square 1."""
    if values == 4:
        return np.array([[-1, -1, 1], [-1, 1, -1], [1, -1, -1], [1, 1, 1]], dtype=float)
    if values == 3:
        return np.array([[-1, 1], [0, -2], [1, 1]]) * np.sqrt([1.5, 0.5])
    return np.array([[-1.0], [1.0]])
