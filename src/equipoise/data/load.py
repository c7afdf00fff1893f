"""From a name or a path to inputs and targets: which loader reads what."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from equipoise.data import csv_file, idx_file, named, npz_file
from equipoise.data.raw import Raw
from equipoise.errors import EquipoiseError, nearest

if TYPE_CHECKING:
    import pandas as pd

_FORMS = "a .csv, .tsv or .npz file, idx files (or their folder), or one of " + ", ".join(named.NAMES)


def load(
    spec: str | os.PathLike[str],
    *,
    target: csv_file.Target = None,
    data_dir: named.DataDir = None,
    test: str | os.PathLike[str] | None = None,
    groups: Any = None,
    weights: Any = None,
) -> Raw:
    """The set that ``spec`` names. ``target``, and ``groups`` and ``weights`` as column names, are for .csv files.

    ``test``: a second file of the same form, which becomes the official test set.
    """
    if not isinstance(spec, str | os.PathLike):
        raise EquipoiseError(f"data is a {type(spec).__name__}; load takes {_FORMS}; for arrays use Data(x, y)")
    name = os.fspath(spec).lower().replace("_", "-")
    path = Path(spec).expanduser()
    if name in named.NAMES:
        if test is not None:
            raise EquipoiseError(f"{name} with a test file: named sets bring their own rows; leave test (--test) out")
        raw = named.load(name, data_dir)
    elif path.suffix.lower() in (".csv", ".tsv"):
        return _csv(_file(path), target, None if test is None else _file(Path(test).expanduser()), groups, weights)
    elif path.suffix.lower() == ".npz":
        raw = npz_file.load(_file(path))
        raw = raw if test is None else _joined(raw, npz_file.load(_file(Path(test).expanduser())))
    elif path.is_dir() or idx_file.named_like_one(path):
        raw = idx_file.load(path if path.is_dir() else _file(path))
        raw = raw if test is None else _joined(raw, idx_file.load(_file(Path(test).expanduser())))
    elif path.exists():
        raise EquipoiseError(f"{path.name}: its form is not known; give {_FORMS}")
    else:
        raise EquipoiseError(f"no data set or file {os.fspath(spec)!r}; give {_FORMS}.{nearest(name, named.NAMES)}")
    if target is not None:
        raise EquipoiseError(f"target={target!r} with {os.fspath(spec)!r}: only .csv files have one; leave it out")
    raw.groups, raw.weights = groups, weights
    return raw


def _file(path: Path) -> Path:
    if path.is_file():
        return path
    try:
        beside = [p.name for p in path.parent.iterdir()]
    except OSError:
        beside = []
    raise EquipoiseError(f"no file {str(path)!r}.{nearest(path.name, beside)}")


def _joined(raw: Raw, test: Raw) -> Raw:
    """The rows of a test file under those of the first."""
    if raw.official is not None or test.official is not None:
        raise EquipoiseError(f"{raw.name} brings its own test part; leave test (--test) out")
    a, b = np.asarray(raw.x), np.asarray(test.x)
    c, d = np.asarray(raw.y), np.asarray(test.y)
    if a.shape[1:] != b.shape[1:] or c.shape[1:] != d.shape[1:] or 0 in (a.ndim, b.ndim, c.ndim, d.ndim):
        raise EquipoiseError(f"examples are {a.shape[1:]} in {raw.name}, {b.shape[1:]} in {test.name}; they must agree")
    raw.official = np.arange(len(a), len(a) + len(b))
    raw.x, raw.y = np.concatenate([a, b]), np.concatenate([c, d])
    return raw


def _csv(path: Path, target: csv_file.Target, test: Path | None, groups: Any, weights: Any) -> Raw:
    frame, targets = csv_file.read(path, target)
    official = None
    if test is not None:
        below, _ = csv_file.read(test, target)
        _drop_final_dots(frame, below, targets)
        official = np.arange(len(frame), len(frame) + len(below))
        frame = csv_file.stack(frame, below, (path.name, test.name))
    taken = list(targets)
    if isinstance(groups, str) and (groups in frame or groups != "duplicates"):
        taken.append(groups)
        groups = _taken(frame, groups, "groups", path)
    if isinstance(weights, str) and (weights in frame or weights != "balanced"):
        taken.append(weights)
        weights = _taken(frame, weights, "weights", path)
    x = frame.drop(columns=taken)
    if x.shape[1] == 0:
        raise EquipoiseError(f"{path.name} has no columns besides the target; give the separator as , ; or tab")
    y = frame[targets[0]] if len(targets) == 1 else frame[targets]
    return Raw(x, y, path.stem, str(path), official, groups=groups, weights=weights)


def _taken(frame: pd.DataFrame, column: str, role: str, path: Path) -> Any:
    """The values of a column that is no input but says something about the rows."""
    if column not in frame:
        raise EquipoiseError(f"{role}={column!r}: no such column in {path.name}.{nearest(column, list(frame.columns))}")
    return frame[column].to_numpy()


def _drop_final_dots(frame: pd.DataFrame, below: pd.DataFrame, targets: list[str]) -> None:
    """Labels of a test file that end in a dot (the census data of 1996): the dot goes where it alone makes them new."""
    for t in targets:
        known, found = set(frame[t].dropna()), set(below[t].dropna()) if t in below else set()
        if all(isinstance(v, str) and v not in known and v.removesuffix(".") in known for v in found):
            below[t] = below[t].map(lambda v: v.removesuffix("."), na_action="ignore")
