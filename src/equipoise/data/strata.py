"""How rows are divided: by stratum and largest remainder, by whole groups, or in their order."""

from __future__ import annotations

from typing import Any

import numpy as np

from equipoise.errors import EquipoiseError
from equipoise.rng import permutation

Array = np.ndarray[Any, np.dtype[Any]]


def allocate(counts: Array, fractions: Array, least: int) -> Array:
    """Rows per stratum and role, (K, R): each row of the table is rounded by largest remainder plus what is owed.

    Every cell is the floor or the ceiling of its quota ``counts × fractions``; a cell below ``least`` then takes from
    its stratum's largest cell.
    """
    owed, out = np.zeros(len(fractions)), np.empty((len(counts), len(fractions)), np.int64)
    for k, n in enumerate(counts):
        quota = n * fractions
        cell = np.floor(quota + 1e-9).astype(np.int64)
        remainder = quota - cell
        priority = np.where(remainder > 1e-9, remainder + owed, -np.inf)
        cell[np.argsort(-priority, kind="stable")[: n - cell.sum()]] += 1
        owed += quota - cell
        while (cell < least).any():
            cell[cell.argmax()] -= 1
            cell[cell.argmin()] += 1
        out[k] = cell
    return out


def strata_of(y: Array, rest: Array, shuffled: Array) -> Array:
    """Stratum of each row of ``rest``: its class code, or its quantile bin of at least 20 rows, at most ten bins."""
    if y.ndim == 1:
        return y[rest]
    bins = max(1, min(10, len(rest) // 20))
    rank = np.empty(len(rest), np.int64)
    rank[np.lexsort((shuffled[rest], y[rest, 0]))] = np.arange(len(rest))
    return rank * bins // len(rest)


def by_stratum(rest: Array, strata: Array, fractions: Array, shuffled: Array, least: int) -> list[Array]:
    """Each stratum divided by ``allocate``; which of its rows go where follows the drawn order ``shuffled``."""
    where = np.full(len(shuffled), -1, np.int64)
    where[rest] = np.arange(len(rest))
    turn = where[shuffled]
    turn = turn[turn >= 0]  # positions in `rest`, in drawn order
    turn = turn[np.argsort(strata[turn], kind="stable")]
    counts = np.bincount(strata)
    cells = allocate(counts, fractions, least if len(counts) > 1 else 2)  # two rows give a role a variance
    role = np.repeat(np.tile(np.arange(len(fractions)), len(counts)), cells.ravel())
    return [rest[turn[role == r]] for r in range(len(fractions))]


def in_order(rest: Array, fractions: Array) -> list[Array]:
    """The first rows, the next rows, ..."""
    cells = allocate(np.array([len(rest)]), fractions, 1)[0]
    return np.split(rest, np.cumsum(cells)[:-1])


def by_group(rest: Array, strata: Array, groups: Array, fractions: Array, seed: int) -> list[Array]:
    """Whole groups, the largest first, each to the relatively emptiest role (in its own strata) with room for it."""
    codes = np.unique(groups, return_inverse=True)[1]
    n_groups, n_roles, n_strata = int(codes.max()) + 1, len(fractions), int(strata.max()) + 1
    if n_groups < n_roles:
        raise EquipoiseError(f"{n_groups} groups for {n_roles} roles: give at least {n_roles} groups, or no groups")
    table = np.bincount(codes * n_strata + strata, minlength=n_groups * n_strata).reshape(n_groups, n_strata)
    size = table.sum(1)
    turn = permutation(seed, "split", n_groups).numpy()
    turn = turn[np.argsort(-size[turn], kind="stable")]
    want = np.outer(fractions, np.maximum(table.sum(0), 1))
    need, room, owner = want.copy(), fractions * len(rest), np.empty(n_groups, np.int64)
    empty = np.ones(n_roles, bool)
    for left, g in zip(range(n_groups, 0, -1), turn, strict=True):
        may = room >= size[g] - 0.5
        if left <= empty.sum():  # the last groups go where nothing is yet
            may = empty
        r = int(np.where(may, (need / want) @ table[g], -np.inf).argmax()) if may.any() else int(room.argmax())
        owner[g], empty[r] = r, False
        need[r] -= table[g]
        room[r] -= size[g]
    return [rest[owner[codes] == r] for r in range(n_roles)]
