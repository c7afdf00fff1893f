"""The four roles of rows: ``fit`` trains, ``stop`` steers, ``assess`` judges, ``test`` confirms.

Drawn once from the data seed. Each class (each decile of a regression target) is divided by largest remainder, so that
every role holds within one row of its share of every class; the remainders are carried from class to class, so that the
roles' sizes come out right as well. Rows whose target is missing have no part in that: all of them go to ``fit``, the
only role that can use them, except that they follow their group and are left out where they are later than ``fit``.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from equipoise.data.strata import by_group, by_stratum, in_order, strata_of
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
    ``y``: codes (n,) where ``classes`` are given, else targets (n, T), of which the first stratifies; -1 or NaN is
    missing. ``groups``: a code per row; rows of one group stay in one role. ``official``: rows that are the test set
    already. Raises EquipoiseError where a role, or a class in it, would be left without rows.
    """
    n, split = len(y), _parsed(split)
    if isinstance(split, Mapping) and set(split) == set(ROLES):
        rows = checked({role: split[role] for role in ROLES}, n)
    else:
        if isinstance(split, Mapping):
            split, official = None, _test_rows(split, n)
        parts = _divided(split, y, classes, groups, official, seed)
        if official is not None:
            parts.append(official)
        parts[0] = np.concatenate([parts[0], _unlabelled_for_fit(split, parts, y, groups)])
        rows = {role: torch.from_numpy(np.sort(p)) for role, p in zip(ROLES, parts, strict=True)}
    refuse_unlabelled(rows, y)
    if groups is not None:
        _refuse_torn_groups(rows, groups)
    _refuse_empty(rows, y, classes)
    return rows


def unlabelled(y: Tensor) -> Array:
    """Rows with a missing target, boolean (n,): the code -1, or a NaN among the targets."""
    return (y < 0).numpy() if y.ndim == 1 else y.isnan().any(1).numpy()


def refuse_unlabelled(rows: Mapping[str, Tensor], y: Tensor) -> None:
    """Scores need labels: rows without one serve in ``fit`` only."""
    missing = unlabelled(y.cpu())
    for role in ROLES[1:]:
        without = rows[role].cpu().numpy()[missing[rows[role].cpu().numpy()]]
        if len(without):
            raise EquipoiseError(f"row {without[0]} is in {role!r} and has no target; only 'fit' may hold such rows")


def _divided(
    split: Any, y: Tensor, classes: tuple[Any, ...] | None, groups: Array | None, official: Array | None, seed: int
) -> list[Array]:
    """The labelled rows that are not official, in four or three parts."""
    roles, usable = ROLES if official is None else ROLES[:3], ~unlabelled(y)
    if official is not None:
        usable[official] = False
    rest = np.flatnonzero(usable)
    if len(rest) < 2 * len(roles):
        need = f"{2 * len(roles)} rows for {', '.join(roles)} are the least"
        raise EquipoiseError(f"{len(rest)} rows to divide: {need}; give more rows")
    fractions = _fractions(split, len(roles))
    if split == "time":
        if groups is not None:
            raise EquipoiseError("split='time' with groups: rows go by their order or by their group; give one")
        return in_order(rest, fractions)
    shuffled = permutation(seed, "split", len(y)).numpy()
    strata = strata_of(y.numpy(), rest, shuffled)
    if groups is not None:
        return by_group(rest, strata, groups[rest], fractions, seed)
    if classes is not None:
        _refuse_rare(strata, classes, len(roles))
    return by_stratum(rest, strata, fractions, shuffled, least=0 if classes is None else 1)


def _unlabelled_for_fit(split: Any, parts: list[Array], y: Tensor, groups: Array | None) -> Array:
    more = np.flatnonzero(unlabelled(y))
    if split == "time":
        return more[more < min(part.min() for part in parts[1:])]
    if groups is not None:
        return more[~np.isin(groups[more], groups[np.concatenate(parts[1:])])]
    return more


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
        present = y[rows["fit"]]
        missing = np.flatnonzero(np.bincount(present[present >= 0].numpy(), minlength=len(classes)) == 0)
        if len(missing):
            named = ", ".join(repr(classes[c]) for c in missing[:3])
            raise EquipoiseError(f"no row of class {named} is in 'fit'; a class can be learned only where it occurs")


def _refuse_torn_groups(rows: dict[str, Tensor], groups: Array) -> None:
    first = np.full(int(groups.max()) + 1, len(ROLES))
    last = np.full(len(first), -1)
    for i, role in enumerate(ROLES):
        held = groups[rows[role].numpy()]
        first[held], last[held] = np.minimum(first[held], i), np.maximum(last[held], i)
    torn = np.flatnonzero((last >= 0) & (first < last))
    if len(torn):
        row = int((groups == torn[0]).argmax())
        came = f"the group of row {row} is in {ROLES[first[torn[0]]]!r} and {ROLES[last[torn[0]]]!r}"
        raise EquipoiseError(f"{came}; rows of a group share one role")
