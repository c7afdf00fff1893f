"""The four roles of rows: ``fit`` trains, ``stop`` steers, ``assess`` judges, ``test`` confirms.

Drawn once from the data seed. Each class (each decile of a regression target) is divided by largest remainder, so that
every role holds within one row of its share of every class; the remainders are carried from class to class, so that the
roles' sizes come out right as well.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from equipoise.errors import EquipoiseError, nearest
from equipoise.rng import permutation

ROLES = ("fit", "stop", "assess", "test")
FRACTIONS = (0.60, 0.10, 0.15, 0.15)
FRACTIONS_BESIDE_TEST = (0.70, 0.12, 0.18)

Array = np.ndarray[Any, np.dtype[Any]]
Split = Mapping[str, Any] | Sequence[float] | str | None


def draw(
    split: Split,
    y: Tensor,
    classes: tuple[Any, ...] | None,
    *,
    groups: Array | None = None,
    official: Array | None = None,
    seed: int = 0,
) -> dict[str, Tensor]:
    """Roles → sorted row numbers (int64), disjoint, and together all rows unless ``split`` lists the four roles itself.

    ``split``: None; four fractions; ``"time"`` (in order of the rows); ``{"test": rows}`` (the rest is divided
    70 : 12 : 18); all four roles; a string of four numbers, ``"60,10,15,15"``; or a ``.json`` file with the roles.
    ``y``: codes (n,) where ``classes`` are given, else targets (n, T), of which the first stratifies.
    ``groups``: a label per row; rows of one group stay in one role. ``official``: rows that are the test set already.
    Raises EquipoiseError where a role, or a class in it, would be left without rows.
    """
    n, split = len(y), _parsed(split)
    if isinstance(split, Mapping) and set(split) == set(ROLES):
        rows = checked({role: split[role] for role in ROLES}, n)
        if groups is not None:
            _refuse_torn_groups(rows, groups)
    else:
        if isinstance(split, Mapping):
            split, official = None, _test_rows(split, n)
        roles = ROLES if official is None else ROLES[:3]
        rest = np.arange(n) if official is None else np.setdiff1d(np.arange(n), official)
        if len(rest) < 2 * len(roles):
            need = f"{2 * len(roles)} rows for {', '.join(roles)} are the least"
            raise EquipoiseError(f"{len(rest)} rows to divide: {need}; give more rows")
        fractions = _fractions(split, len(roles))
        if split == "time":
            if groups is not None:
                raise EquipoiseError("split='time' with groups: rows go by their order or by their group; give one")
            parts = _in_order(rest, fractions)
        else:
            shuffled = permutation(seed, "split", n).numpy()
            strata = _strata(y, rest, classes, shuffled)
            if groups is not None:
                parts = _by_group(rest, strata, groups[rest], fractions, seed)
            else:
                if classes is not None:
                    _refuse_rare(strata, classes, len(roles))
                parts = _stratified(rest, strata, fractions, shuffled, least=0 if classes is None else 1)
        rows = {r: torch.from_numpy(np.sort(p)) for r, p in zip(roles, parts, strict=True)}
        if official is not None:
            rows["test"] = torch.from_numpy(np.sort(official))
    _refuse_empty(rows, y, classes)
    return rows


def checked(rows: Mapping[str, Any], n: int, repeats: bool = False) -> dict[str, Tensor]:
    """Given roles as sorted int64 rows: in range, no row in two roles; ``repeats`` allows a row twice in one role."""
    out: dict[str, Tensor] = {}
    owner = np.full(n, -1, np.int8)
    for role, given in rows.items():
        if role not in ROLES:
            raise EquipoiseError(f"no role {role!r}: the roles are {', '.join(ROLES)}.{nearest(str(role), ROLES)}")
        r = _row_numbers(role, given, n)
        if not repeats and len(np.unique(r)) < len(r):
            raise EquipoiseError(f"split: {role!r} lists a row twice; each row has one role")
        taken = owner[r]
        if (taken >= 0).any():
            i = int(r[taken >= 0][0])
            raise EquipoiseError(f"split: row {i} is in {ROLES[owner[i]]!r} and {role!r}; each row has one role")
        owner[r] = ROLES.index(role)
        out[role] = torch.from_numpy(np.sort(r))
    return out


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


def _parsed(split: Split) -> Split:
    """A split given as text (the command line) as what it means."""
    if not isinstance(split, (str, Path)) or split == "time":
        return split
    text = str(split)
    if text.endswith(".json"):
        try:
            found = json.loads(Path(text).read_text(encoding="utf-8"))
            found = found.get("data", found)
            return dict(found.get("split", found))
        except OSError as e:
            raise EquipoiseError(f"split file {text!r} cannot be read: {e.strerror}") from e
        except (ValueError, AttributeError, TypeError) as e:
            raise EquipoiseError(f"split file {text!r} is no JSON with the roles {', '.join(ROLES)}") from e
    try:
        return [float(part) for part in text.replace("/", ",").replace(":", ",").split(",")]
    except ValueError:
        way = "'time', four numbers such as 60,10,15,15, or a .json file with the row numbers of the roles"
        raise EquipoiseError(f"split {text!r}: give {way}") from None


def _test_rows(split: Mapping[str, Any], n: int) -> Array:
    if set(split) != {"test"}:
        got = ", ".join(map(repr, split)) or "nothing"
        raise EquipoiseError(f"split lists {got}: give all of {', '.join(ROLES)}, or 'test' alone")
    return checked(split, n)["test"].numpy()


def _fractions(split: Any, roles: int) -> Array:
    if split is None or split == "time":
        return np.array(FRACTIONS if roles == 4 else FRACTIONS_BESIDE_TEST)
    f = np.array(split, dtype=np.float64) if _is_numbers(split) else np.zeros(0)
    if f.shape != (4,) or not np.isfinite(f).all() or (f <= 0).any() or not np.isclose(f.sum(), [1, 100]).any():
        raise EquipoiseError(f"split {split!r}: four shares of {', '.join(ROLES)}, all above 0, summing to 1 or 100")
    return f[:roles] / f[:roles].sum()


def _is_numbers(split: Any) -> bool:
    return isinstance(split, Sequence | np.ndarray) and all(isinstance(v, int | float | np.number) for v in split)


def _row_numbers(role: str, given: Any, n: int) -> Array:
    r = np.asarray(given.detach().cpu() if isinstance(given, Tensor) else given)
    if r.dtype == bool and r.shape == (n,):
        r = np.flatnonzero(r)
    if r.size == 0:
        raise EquipoiseError(f"split: {role!r} has no rows; each role needs some")
    if r.ndim != 1 or not np.issubdtype(r.dtype, np.integer):
        raise EquipoiseError(f"split: {role!r} is {r.dtype} of shape {r.shape}; give row numbers or a mask of {n} rows")
    if r.min() < 0 or r.max() >= n:
        raise EquipoiseError(f"split: {role!r} names row {r.min() if r.min() < 0 else r.max()}; rows are 0 ... {n - 1}")
    return r.astype(np.int64)


def _strata(y: Tensor, rest: Array, classes: tuple[Any, ...] | None, shuffled: Array) -> Array:
    """Stratum of each row of ``rest``: its class, or its quantile bin of at least 20 rows, at most ten bins."""
    if classes is not None:
        return y.numpy()[rest]
    bins = max(1, min(10, len(rest) // 20))
    rank = np.empty(len(rest), np.int64)
    rank[np.lexsort((shuffled[rest], y[:, 0].numpy()[rest]))] = np.arange(len(rest))
    return rank * bins // len(rest)


def _stratified(rest: Array, strata: Array, fractions: Array, shuffled: Array, least: int) -> list[Array]:
    where = np.full(len(shuffled), -1, np.int64)
    where[rest] = np.arange(len(rest))
    turn = where[shuffled]
    turn = turn[turn >= 0]  # positions in `rest`, in drawn order
    turn = turn[np.argsort(strata[turn], kind="stable")]
    counts = np.bincount(strata)
    cells = allocate(counts, fractions, least if len(counts) > 1 else 2)  # two rows give a role a variance
    role = np.repeat(np.tile(np.arange(len(fractions)), len(counts)), cells.ravel())
    return [rest[turn[role == r]] for r in range(len(fractions))]


def _in_order(rest: Array, fractions: Array) -> list[Array]:
    cells = allocate(np.array([len(rest)]), fractions, 1)[0]
    return np.split(rest, np.cumsum(cells)[:-1])


def _by_group(rest: Array, strata: Array, groups: Array, fractions: Array, seed: int) -> list[Array]:
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


def _refuse_rare(strata: Array, classes: tuple[Any, ...], roles: int) -> None:
    counts = np.bincount(strata, minlength=len(classes))
    rare = np.flatnonzero(counts < roles)
    if not len(rare):
        return
    if 2 * len(rare) > len(classes) and len(classes) > 10:
        raise EquipoiseError(
            f"y holds {len(classes)} different labels in {len(strata)} rows, most of them too rare for {roles} roles; "
            "for numbers to predict pass task='regress' (--task regress)"
        )
    named = ", ".join(f"{classes[c]!r} ({counts[c]})" for c in rare[:3]) + (" ..." if len(rare) > 3 else "")
    raise EquipoiseError(
        f"too few rows of class {named}: {roles} roles need at least {roles} of each class; "
        "merge or remove such classes, or pass task='regress' (--task regress)"
    )


def _refuse_empty(rows: dict[str, Tensor], y: Tensor, classes: tuple[Any, ...] | None) -> None:
    for role in ROLES:
        if not len(rows[role]):
            raise EquipoiseError(f"role {role!r} gets no rows; give more rows or a larger share")
    if classes is not None:
        missing = np.flatnonzero(np.bincount(y[rows["fit"]].numpy(), minlength=len(classes)) == 0)
        if len(missing):
            named = ", ".join(repr(classes[c]) for c in missing[:3])
            raise EquipoiseError(f"no row of class {named} is in 'fit'; a class can be learned only where it occurs")


def _refuse_torn_groups(rows: dict[str, Tensor], groups: Array) -> None:
    owner: dict[Any, str] = {}
    for role in ROLES:
        for g in np.unique(groups[rows[role].numpy()]).tolist():
            if owner.setdefault(g, role) != role:
                raise EquipoiseError(f"group {g!r} is in {owner[g]!r} and {role!r}; rows of a group share one role")
