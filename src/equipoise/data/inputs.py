"""Inputs: whatever holds examples becomes tensors, examples first, in the dtype the network will read.

| what came | kind | stored |
|---|---|---|
| frame; (N,) or (N, D) numbers, booleans, text | table | float32 (N, D) |
| (N, H, W) of uint8; (N, C, H, W, ...) | image | (N, C, H, W, ...), uint8 as it is, else float32 |
| (N, T, F) of other numbers | sequence | float32 (N, T, F) |
| (N, T) integers with kind="sequence" | sequence | int64 tokens (N, T); (N, T) floats gain an axis F = 1 |
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from equipoise.data.table import Column, matrix, number_columns, text_frame
from equipoise.errors import EquipoiseError

KINDS = ("table", "image", "sequence")
Array = np.ndarray[Any, np.dtype[Any]]


def read(x: Any, kind: str | None, fresh: bool) -> tuple[Tensor, str, tuple[Column, ...] | None]:
    """One input as (tensor, kind, columns of a table or None).

    ``fresh`` tells that nobody else holds the array, so that it need not be copied. A table may hold NaN (missing), any
    other input may not; infinite values are refused everywhere. Raises EquipoiseError naming the place.
    """
    if kind not in (None, *KINDS):
        raise EquipoiseError(f"kind={kind!r}: it is one of {', '.join(KINDS)}; one for each of several inputs")
    columns = None
    array = _array(x, kind)
    if not isinstance(array, np.ndarray | Tensor):
        array, columns = matrix(array)
        fresh = True
    kind = kind or _kind(array)
    t = _tensor(array, kind, fresh)
    t = _shaped(t, kind)
    if t.shape[0] == 0:
        raise EquipoiseError("x has no rows; give at least a few dozen")
    if t.numel() == 0:
        raise EquipoiseError(f"x of shape {tuple(t.shape)} has no features; every example needs at least one number")
    if kind == "table" and columns is None:
        columns = number_columns(t.shape[1])
    _refuse_not_finite(t, columns)
    return t, kind, columns


def unready(x: Tensor, columns: tuple[Column, ...]) -> str | None:
    """Why a network cannot read this table as it is: its first category, or its first column with missing values."""
    for column in columns:
        if column.kind == "category":
            seen = ", ".join(map(repr, column.levels[:3])) + (", ..." if len(column.levels) > 3 else "")
            return f"column {column.name!r} holds categories ({seen})"
    missing = x.isnan().sum(0)
    if missing.any():
        j = int(missing.gt(0).nonzero()[0])
        return f"column {columns[j].name!r} has {int(missing[j])} missing values (NaN)"
    return None


def _array(x: Any, kind: str | None) -> Any:
    """An array, a tensor, or a data frame."""
    if isinstance(x, Tensor):
        if x.layout != torch.strided or x.is_quantized:
            raise EquipoiseError("x is a sparse or quantized tensor; give a dense one, x.to_dense()")
        return x.detach().cpu()
    if hasattr(x, "toarray"):
        raise EquipoiseError(f"x is a sparse {type(x).__name__}; give a dense array, x.toarray()")
    if hasattr(x, "iloc"):
        x = x.to_frame() if x.ndim == 1 else x
        return x if kind in (None, "table") else x.to_numpy()
    if isinstance(x, np.ma.MaskedArray):
        x = np.ma.filled(x.astype(np.float64), np.nan)
    try:
        if isinstance(x, list) and x and all(isinstance(v, Tensor) for v in x):
            return torch.stack(x).detach().cpu()
        array = np.asarray(x)
    except (ValueError, RuntimeError, TypeError):
        raise EquipoiseError("x: its rows differ in shape; pad them to one length, or give one array") from None
    if isinstance(x, str):
        raise EquipoiseError(f"x is the text {x[:40]!r}; for a named set or a file use Data.load({x[:40]!r})")
    if array.ndim == 0:
        raise EquipoiseError(f"x is a {type(x).__name__}; give an array, tensor or data frame with examples first")
    if array.dtype.kind in "OUS" and array.ndim <= 2 and kind in (None, "table"):
        return text_frame(array.astype(str) if array.dtype.kind == "S" else array)
    return array


def _kind(array: Array | Tensor) -> str:
    if array.ndim <= 2:
        return "table"
    if array.ndim == 3:
        return "image" if array.dtype in (np.uint8, torch.uint8) else "sequence"
    _, c, h, *rest = array.shape
    if rest and rest[-1] in (1, 3, 4) and c not in (1, 3, 4) and c == h:
        raise EquipoiseError(
            f"x of shape {tuple(array.shape)} looks channels-last; images are (N, C, H, W): "
            "pass np.moveaxis(x, -1, 1), or kind='image' if that is what it is"
        )
    return "image"


def _tensor(array: Array | Tensor, kind: str, fresh: bool) -> Tensor:
    """The array in the dtype it is stored in; copied unless ``fresh``."""
    if isinstance(array, Tensor):
        if array.is_complex():
            raise EquipoiseError("x holds complex numbers; give real and imaginary part as two inputs")
        whole = not array.is_floating_point() and array.dtype != torch.bool
        byte = array.dtype == torch.uint8
    else:
        if array.dtype.kind not in "biuf":
            raise EquipoiseError(f"x holds {array.dtype} of shape {array.shape}; a {kind} is made of numbers")
        whole, byte = array.dtype.kind in "iu", array.dtype == np.uint8
    if kind == "image" and byte:
        dtype = torch.uint8
    elif kind == "sequence" and whole:
        dtype = torch.int64
    else:
        dtype = torch.float32
    if isinstance(array, Tensor):
        return array.to(dtype, copy=not fresh, memory_format=torch.contiguous_format)
    numpy_dtype = {torch.uint8: np.uint8, torch.int64: np.int64, torch.float32: np.float32}[dtype]
    with np.errstate(over="ignore"):
        return torch.from_numpy(array.astype(numpy_dtype, order="C", copy=not (fresh and array.flags.writeable)))


def _shaped(t: Tensor, kind: str) -> Tensor:
    allowed = {"table": (1, 2), "image": (3, 4, 5), "sequence": (2, 3)}[kind]
    if t.ndim not in allowed:
        form = {"table": "(N, D)", "image": "(N, C, H, W)", "sequence": "(N, T) tokens or (N, T, F)"}[kind]
        raise EquipoiseError(f"x of shape {tuple(t.shape)} as {kind}: its shape is {form}; reshape it, or say kind=...")
    if kind == "sequence" and t.dtype == torch.int64 and t.numel() and int(t.min()) < 0:
        raise EquipoiseError(f"x holds the token {int(t.min())}; tokens are 0, 1, 2, ...: pad with a token of its own")
    if kind == "table" and t.ndim == 1:
        return t[:, None]
    if kind == "image" and t.ndim == 3:
        return t[:, None]
    if kind == "sequence" and t.ndim == 2 and t.is_floating_point():
        return t[:, :, None]
    return t


def _refuse_not_finite(t: Tensor, columns: tuple[Column, ...] | None) -> None:
    if not t.is_floating_point():
        return
    bad = t.isinf() if columns is not None else ~t.isfinite()
    if not bad.any():
        return
    place = bad.nonzero()[0].tolist()
    rows = int(bad.flatten(1).any(1).sum())
    value = float(t[tuple(place)])
    if columns is not None:
        where, way = f"column {columns[place[1]].name!r}, row {place[0]}", "mark it as missing (NaN) and use Encode"
    else:
        where, way = f"x[{', '.join(map(str, place))}]", "clean or drop such rows"
    raise EquipoiseError(f"{where} is {value} in float32 ({rows} such rows); inputs are finite numbers: {way}")
