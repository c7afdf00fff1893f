"""Tables: data frames become a float32 matrix, with the meaning of each column beside it."""

from __future__ import annotations

import numbers
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from equipoise.errors import EquipoiseError

if TYPE_CHECKING:
    import pandas as pd

Array = np.ndarray[Any, np.dtype[Any]]


@dataclass(frozen=True)
class Column:
    """What a column of a table holds: numbers, or codes 0 ... of the named ``levels``; a missing value is NaN."""

    name: str
    kind: str = "number"
    levels: tuple[str, ...] = ()


def number_columns(count: int) -> tuple[Column, ...]:
    """Columns of an array without names: x0, x1, ..."""
    return tuple(Column(f"x{j}") for j in range(count))


def matrix(frame: pd.DataFrame) -> tuple[Array, tuple[Column, ...]]:
    """(N, D) float32 and its D columns. Text and pandas categories become codes, booleans 0 and 1, missing NaN.

    Text is a category even where it looks like numbers; levels are sorted, or in the order of the pandas categories.
    """
    names = [str(c) for c in frame.columns]
    refuse_duplicates(names, "x")
    out = np.empty((len(frame), len(names)), np.float32)
    columns = []
    for j, name in enumerate(names):
        values, column = _column(name, frame.iloc[:, j])
        with np.errstate(over="ignore"):  # what float32 cannot hold becomes inf, which is refused with its place
            out[:, j] = values
        columns.append(column)
    return out, tuple(columns)


def text_frame(array: Array) -> pd.DataFrame:
    """The frame of an array of text or objects: a column whose cells all read as numbers is one of numbers."""
    import pandas as pd

    frame = pd.DataFrame(array, columns=[f"x{j}" for j in range(array.shape[1])] if array.ndim == 2 else None)
    for name in frame.columns:
        try:
            frame[name] = pd.to_numeric(frame[name])
        except (ValueError, TypeError):
            continue
    return frame


def refuse_duplicates(names: list[str], where: str) -> None:
    """A name must say which column is meant."""
    if len(set(names)) < len(names):
        twice = next(n for n in names if names.count(n) > 1)
        raise EquipoiseError(f"{where}: column {twice!r} occurs twice; rename or drop one of them")


def _column(name: str, series: pd.Series) -> tuple[Array, Column]:
    import pandas as pd

    types = pd.api.types
    dtype = series.dtype
    if isinstance(dtype, pd.CategoricalDtype):
        levels = [str(v) for v in series.cat.categories]
        codes = series.cat.codes.to_numpy().astype(np.float64)
        return np.where(codes < 0, np.nan, codes), Column(name, "category", tuple(levels))
    if types.is_datetime64_any_dtype(dtype) or types.is_timedelta64_dtype(dtype) or isinstance(dtype, pd.PeriodDtype):
        raise EquipoiseError(f"column {name!r} holds dates; turn them into numbers (hour, day of the year) or drop it")
    if types.is_complex_dtype(dtype):
        raise EquipoiseError(f"column {name!r} holds complex numbers; give real and imaginary part as two columns")
    if types.is_numeric_dtype(dtype):  # bool included
        return series.to_numpy(dtype=np.float64, na_value=np.nan), Column(name)
    missing = series.isna().to_numpy()
    present = series[~missing]
    if types.is_object_dtype(dtype) and all(isinstance(v, numbers.Real) for v in present):
        out = np.full(len(series), np.nan)
        out[~missing] = [float(v) for v in present]
        return out, Column(name)
    codes, levels = pd.factorize(np.array([str(v) for v in present], dtype=object), sort=True)
    out = np.full(len(series), np.nan)
    out[~missing] = codes
    return out, Column(name, "category", tuple(str(v) for v in levels))
