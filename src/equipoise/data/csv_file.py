"""Comma-separated files: separator and header are found, missing codes become NaN, damage is told with its line.

The separator is the one of ``, ; tab`` that cuts the first lines best (a blank after it is no part of the value). The
first line is a header where none of its cells is a number and some cell below is, where it counts 0, 1, 2, ..., or
where the target is the name of one of its cells. Without a header the columns are called by their number, from "0".
"""

from __future__ import annotations

import csv
import itertools
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

from equipoise.data.table import refuse_duplicates
from equipoise.errors import EquipoiseError, nearest

if TYPE_CHECKING:
    import pandas as pd

MISSING = ("", "?", "NA", "N/A", "na", "NaN", "nan", "NAN", "null", "NULL")
"""Cells that mean "not known"."""

Target = str | int | list[str | int] | tuple[str | int, ...] | None


def read(path: Path, target: Target) -> tuple[pd.DataFrame, list[str]]:
    """The file's columns, and the names of those that are the target. ``target``: name, number (−1 is the last), or
    several of either (a list, or text with commas). Raises EquipoiseError, one line, for what cannot be read."""
    head = _head(path)
    separator = _separator(head)
    rows = list(csv.reader(head, delimiter=separator, skipinitialspace=True))
    wanted = _wanted(target, path)
    header = _has_header(rows, wanted)
    names = [c.strip() for c in rows[0]] if header else [str(j) for j in range(len(rows[0]))]
    if header:
        names = [n or f"column {j}" for j, n in enumerate(names)]
        refuse_duplicates(names, path.name)
    targets = [_column(w, names, header, path) for w in wanted]
    frame = _parse(path, separator, header)
    if len(frame.columns) != len(names):
        raise EquipoiseError(f"{path.name}: {len(names)} names for {len(frame.columns)} columns; mend its first line")
    frame.columns = names
    if frame.iloc[:, -1].isna().any():
        _refuse_short_rows(path, separator, len(names))
    if not len(frame):
        raise EquipoiseError(f"{path.name}: no rows below its header")
    return frame, targets


def stack(first: pd.DataFrame, second: pd.DataFrame, names: tuple[str, str]) -> pd.DataFrame:
    """Rows of a second file under those of the first; its columns, by name, hold the same kind of values."""
    import pandas as pd

    for column in first.columns:
        if column not in second.columns:
            hint = nearest(column, list(second.columns))
            raise EquipoiseError(f"{names[1]} lacks the column {column!r} of {names[0]}; give it the same.{hint}")
        a, b = first[column], second[column]
        numbers = [pd.api.types.is_numeric_dtype(c.dtype) for c in (a, b)]
        if numbers[0] != numbers[1] and not a.isna().to_numpy().all() and not b.isna().to_numpy().all():
            text, where = (a, names[0]) if numbers[1] else (b, names[1])
            value = next(v for v in text if isinstance(v, str))
            raise EquipoiseError(f"column {column!r} holds text ({value!r}) in {where} but numbers in the other file")
    return pd.concat([first, second.reindex(columns=first.columns)], ignore_index=True)


def _head(path: Path, lines: int = 50) -> list[str]:
    try:
        with path.open("rb") as f:
            if b"\0" in f.read(65536):
                raise EquipoiseError(f"{path.name} is no text file (zero bytes); give a .csv, .npz or idx file")
        with path.open(encoding="utf-8-sig", newline="") as f:
            found = [line for line in itertools.islice(f, lines) if line.strip()]
    except UnicodeDecodeError as e:
        raise _not_utf8(path, e) from None
    except OSError as e:
        raise EquipoiseError(f"{path} cannot be read: {e.strerror}") from None
    if not found:
        raise EquipoiseError(f"{path.name} is empty; give a file with a row per example")
    return found


def _not_utf8(path: Path, e: UnicodeDecodeError) -> EquipoiseError:
    return EquipoiseError(f"{path.name} is not UTF-8 (byte 0x{e.object[e.start]:02x}); save it as UTF-8 text")


def _separator(head: list[str]) -> str:
    """The separator that gives the most columns in all of the first lines."""

    def columns(separator: str) -> int:
        try:
            rows = csv.reader(head, delimiter=separator, skipinitialspace=True)
            return min(len(row) for row in itertools.islice(rows, 10))
        except csv.Error:
            return 0

    return max(",;\t", key=columns)


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True


def _has_header(rows: list[list[str]], wanted: list[str | int]) -> bool:
    first, below = [c.strip() for c in rows[0]], rows[1:]
    if first == [str(j) for j in range(len(first))]:
        return True
    if not any(map(_is_number, first)) and any(_is_number(c) for row in below for c in row):
        return True
    return any(isinstance(w, str) and not _is_number(w) and w in first for w in wanted)


def _wanted(target: Target, path: Path) -> list[str | int]:
    if target is None:
        raise EquipoiseError(f"{path.name} needs its target column: target='NAME' or a column number (--target NAME)")
    parts: Any = list(target) if isinstance(target, list | tuple) else [target]
    if not parts or not all(isinstance(p, str | int) for p in parts):
        raise EquipoiseError(f"target={target!r}: give the name or number of a column, or a list of them")
    return parts


def _column(wanted: str | int, names: list[str], header: bool, path: Path) -> str:
    if header and str(wanted) in names:
        return str(wanted)
    try:
        return names[int(wanted)]
    except IndexError:
        raise EquipoiseError(f"{path.name}: no column {wanted}; the columns are 0 ... {len(names) - 1}") from None
    except ValueError:
        some = ", ".join(names[:12]) + (", ..." if len(names) > 12 else "")
        known = (
            f"the columns are {some}.{nearest(str(wanted), names)}"
            if header
            else (f"its first line is no header: name the column by its number, 0 ... {len(names) - 1}")
        )
        raise EquipoiseError(f"{path.name}: no target column {wanted!r}; {known}") from None


def _parse(path: Path, separator: str, header: bool) -> pd.DataFrame:
    import pandas as pd

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", pd.errors.ParserWarning)  # "loss of data": a row longer than the header
            frame = pd.read_csv(
                path,
                sep=separator,
                header=0 if header else None,
                skipinitialspace=True,
                na_values=list(MISSING),
                keep_default_na=False,
                index_col=False,
                low_memory=False,
                encoding="utf-8-sig",
            )
            assert isinstance(frame, pd.DataFrame)  # an iterator or a series only where asked for
            return frame
    except UnicodeDecodeError as e:
        raise _not_utf8(path, e) from None
    except (pd.errors.ParserError, pd.errors.ParserWarning, pd.errors.EmptyDataError, ValueError, csv.Error) as e:
        reason = " ".join(str(e).split()).removeprefix("Error tokenizing data. C error: ")
        raise EquipoiseError(f"{path.name} is no table or is damaged: {reason}; mend the line") from None


def _refuse_short_rows(path: Path, separator: str, width: int) -> None:
    """pandas fills a short row with missing values: told here, with its line, because it means a damaged file."""
    with path.open(encoding="utf-8-sig", newline="") as f:
        reader = csv.reader(f, delimiter=separator, skipinitialspace=True)
        for row in reader:
            if row and len(row) < width and any(c.strip() for c in row):
                came = f"line {reader.line_num} has {len(row)} of {width} columns"
                raise EquipoiseError(f"{path.name} is damaged or cut off: {came}; mend or remove the line")
