"""Targets: labels become codes 0 ... C-1 with the map back, numbers become float32 columns; weights become one per row.

The task, where it is not given: floats are numbers to predict (``regress``), also 0.0 and 1.0; integers, booleans, text
and categories are labels (``classify``).
"""

from __future__ import annotations

import numbers
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from equipoise.errors import EquipoiseError, nearest

TASKS = ("classify", "regress")
Array = np.ndarray[Any, np.dtype[Any]]


def read(y: Any, task: str | None) -> tuple[Tensor, str, tuple[Any, ...] | None, tuple[str, ...]]:
    """(y, task, classes, target names): int64 (N,) codes and the labels in code order, or float32 (N, T) and None.

    Labels are sorted, pandas categories keep their order; a label that does not occur is no class. A missing label
    (None, NaN) is the code -1, a missing number NaN. Raises EquipoiseError for infinite targets, one class only, or a
    constant target.
    """
    if task not in (None, *TASKS):
        raise EquipoiseError(f"task={task!r}: it is 'classify' or 'regress'.{nearest(str(task), TASKS)}")
    values, names = _values(y)
    if len(values) == 0:
        raise EquipoiseError("y has no rows; give one label or number per example")
    missing = _missing(values, names)
    task = task or ("regress" if _is_float(values) else "classify")
    if task == "regress":
        return _numbers(values, missing, names), task, None, names
    if getattr(values, "ndim", 1) == 2:
        raise EquipoiseError(
            f"y of shape {values.shape}: classes are one label per row (one-hot rows: y.argmax(1)); "
            "for several numbers to predict pass task='regress'"
        )
    present, classes = _codes(values[~missing])
    if len(classes) < 2:
        raise EquipoiseError(f"y has one class only {classes}; classification needs two: check the target")
    codes = np.full(len(missing), -1, np.int64)
    codes[~missing] = present
    return torch.from_numpy(codes), task, classes, names


def unready(y: Tensor, names: tuple[str, ...]) -> str | None:
    """Why a network cannot be taught this target as it is: its missing values."""
    missing = (y[:, None] < 0) if y.ndim == 1 else y.isnan()
    if not missing.any():
        return None
    row, t = missing.nonzero()[0].tolist()
    return f"target {names[t]!r} is missing in {int(missing.any(1).sum())} rows (first: row {row})"


def row_weights(weights: Any, y: Tensor, classes: tuple[Any, ...] | None, fit: Tensor) -> Tensor | None:
    """float32 (N,) from row weights, from a weight per class ``{label: weight}``, or from ``"balanced"``.

    Balanced: n/(C·n_c) with the counts of the ``fit`` rows, so that every class weighs the same and the mean is 1. Rows
    without a label weigh 1 under class weights.
    """
    if weights is None:
        return None
    if isinstance(weights, str | Mapping):
        if classes is None:
            raise EquipoiseError("class weights with task='regress': give one weight per row")
        if isinstance(weights, str):
            if weights != "balanced":
                raise EquipoiseError(f"weights={weights!r}: give 'balanced', {{label: weight}}, or one weight per row")
            labels = y[fit][y[fit] >= 0]
            counts = torch.bincount(labels, minlength=len(classes))
            per_class = len(labels) / (len(classes) * counts.to(torch.float64))
        else:
            per_class = torch.tensor(_per_class(weights, classes), dtype=torch.float64)
        w = torch.cat([per_class, torch.ones(1, dtype=torch.float64)])[y].to(torch.float32)  # the last for y = -1
    else:
        try:
            given = weights.detach().cpu() if isinstance(weights, Tensor) else np.array(weights, dtype=np.float32)
            w = torch.as_tensor(given).to(torch.float32, copy=True)
        except (ValueError, TypeError):
            raise EquipoiseError("weights: give one number per row, 'balanced', or {label: weight}") from None
    if w.shape != (len(y),):
        raise EquipoiseError(f"weights of shape {tuple(w.shape)} for {len(y)} rows; give one weight per row")
    if not w.isfinite().all() or (w < 0).any() or not (w[fit] > 0).any():
        raise EquipoiseError("weights are finite, not negative, and not all 0 on 'fit'; check them")
    return w


def _per_class(weights: Mapping[Any, Any], classes: tuple[Any, ...]) -> list[float]:
    for label in weights:
        if label not in classes:
            hint = nearest(str(label), map(str, classes))
            raise EquipoiseError(f"weights: no class {label!r}; the classes are {_some(classes)}.{hint}")
    left_out = [c for c in classes if c not in weights]
    if left_out:
        raise EquipoiseError(f"weights: class {left_out[0]!r} has none; give one for each of {_some(classes)}")
    try:
        return [float(weights[c]) for c in classes]
    except (ValueError, TypeError):
        raise EquipoiseError("weights: a class weight is a number") from None


def _some(labels: tuple[Any, ...]) -> str:
    return ", ".join(map(repr, labels[:10])) + (", ..." if len(labels) > 10 else "")


def _values(y: Any) -> tuple[Any, tuple[str, ...]]:
    """(values, names): a numpy array (N,) or (N, T), or a pandas Categorical (N,)."""
    names: tuple[str, ...] | None = None
    if hasattr(y, "iloc") and y.ndim == 2:
        names = tuple(str(c) for c in y.columns)
        y = y.iloc[:, 0] if len(names) == 1 else y
    if hasattr(y, "iloc") or hasattr(y, "categories"):
        import pandas as pd

        if isinstance(y, pd.Categorical):
            return y, names or ("y",)
        if y.ndim == 1:
            names = names or (("y",) if y.name is None else (str(y.name),))
            if isinstance(y.dtype, pd.CategoricalDtype):
                return y.array, names
            floats = pd.api.types.is_float_dtype(y.dtype)
            return (y.to_numpy(dtype=np.float64, na_value=np.nan) if floats else y.to_numpy()), names
        y = y.to_numpy()
    if isinstance(y, Tensor):
        y = y.detach().cpu()
        y = (y.float() if y.dtype == torch.bfloat16 else y).numpy()
    try:
        values = np.asarray(y)
    except ValueError:
        raise EquipoiseError("y: its rows differ in length; give (N,), or (N, T) for several targets") from None
    if values.dtype.kind == "S":
        values = np.char.decode(values, "utf-8", "replace")
    if values.ndim == 2 and values.shape[1] == 1:
        values = values[:, 0]
    if values.ndim not in (1, 2) or values.size == 0 or values.dtype.kind not in "biufOU":
        came = f"{values.dtype} of shape {values.shape}" if values.ndim else type(y).__name__
        raise EquipoiseError(f"y is {came}; give one label or number per row, or (N, T) numbers")
    if values.dtype == object and _all_real(values):
        values = values.astype(np.float64)
    names = names or (("y",) if values.ndim == 1 else tuple(f"y{t}" for t in range(values.shape[1])))
    return values, names


def _all_real(values: Array) -> bool:
    """Whether an object array holds numbers, not all of them whole (None and NaN count as numbers to come)."""
    present = [v for v in values.ravel() if v is not None]
    whole = all(isinstance(v, numbers.Integral) for v in present)
    return not whole and all(isinstance(v, numbers.Real) for v in present)


def _is_float(values: Any) -> bool:
    return isinstance(values, np.ndarray) and values.dtype.kind == "f"


def _missing(values: Any, names: tuple[str, ...]) -> Array:
    """Which targets are missing (None, NaN), boolean, shaped as the values; infinite ones are refused."""
    if isinstance(values, np.ndarray) and values.dtype.kind in "biuU":
        return np.zeros(values.shape, bool)
    import pandas as pd

    missing = np.asarray(pd.isna(values))
    columns = missing.reshape(len(missing), -1)
    if columns.all(0).any():
        raise EquipoiseError(
            f"target {names[int(columns.all(0).argmax())]!r} is missing in every row; check the target"
        )
    if _is_float(values) and np.isinf(values).any():
        place = np.argwhere(np.isinf(values))[0]
        name = names[place[1] if len(place) > 1 else 0]
        raise EquipoiseError(f"target {name!r} is not finite in row {place[0]}; drop such rows")
    return missing


def _numbers(values: Any, missing: Array, names: tuple[str, ...]) -> Tensor:
    array = np.asarray(values)
    if array.dtype.kind not in "biuf":
        try:
            array = np.where(missing, np.nan, array).astype(np.float64)
        except (ValueError, TypeError):
            first = array.ravel()[0]
            raise EquipoiseError(
                f"target {names[0]!r} holds {first!r}; regression needs numbers, for labels pass task='classify'"
            ) from None
    with np.errstate(over="ignore"):
        y = array.astype(np.float32).reshape(len(array), -1)
    if np.isinf(y).any():
        raise EquipoiseError(f"target {names[0]!r} holds values float32 cannot hold; rescale it")
    low, high = np.nanmin(y, 0), np.nanmax(y, 0)
    if (low == high).any():
        t = int((low == high).argmax())
        raise EquipoiseError(f"target {names[t]!r} is {low[t]} in every row; there is nothing to predict")
    return torch.from_numpy(y)


def _codes(values: Any) -> tuple[Array, tuple[Any, ...]]:
    if not isinstance(values, np.ndarray):  # a pandas Categorical
        values = values.remove_unused_categories()
        return values.codes.astype(np.int64), tuple(_plain(v) for v in values.categories)
    if values.dtype != object:
        labels, codes = np.unique(values, return_inverse=True)
        labels = labels.astype(np.int64) if labels.dtype.kind == "f" and (labels % 1 == 0).all() else labels
        return codes.astype(np.int64), tuple(labels.tolist())
    import pandas as pd

    try:
        codes, labels = pd.factorize(values)
        order = np.array(sorted(range(len(labels)), key=lambda i: (type(labels[i]).__name__, labels[i])))
    except TypeError:
        raise EquipoiseError("y: its labels cannot be told apart and sorted; give text, integers or booleans") from None
    rank = np.empty(len(order), np.int64)
    rank[order] = np.arange(len(order))
    return rank[codes], tuple(_plain(labels[i]) for i in order)


def _plain(label: Any) -> Any:
    """A label as Python's own int, float, bool or str, which JSON can hold."""
    label = label.item() if isinstance(label, np.generic) else label
    return label if isinstance(label, bool | int | float | str) else str(label)
