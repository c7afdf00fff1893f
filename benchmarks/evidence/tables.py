"""Rows of results as files and tables."""

from __future__ import annotations

import csv
import os
import platform
from collections.abc import Iterable, Sequence
from dataclasses import asdict, fields
from typing import Any

import torch

TYPES: dict[str, Any] = {"int": int, "float": float, "str": str}


def parsed(cls: type[Any], lines: Iterable[str]) -> list[Any]:
    """Dataclass rows from the lines of a CSV file, header first."""
    types = {f.name: TYPES[str(f.type)] for f in fields(cls)}
    return [cls(**{k: types[k](v) for k, v in r.items()}) for r in csv.DictReader(lines)]


def cells(row: Any) -> list[Any]:
    """The values of a dataclass row as they are written: six digits."""
    return [f"{v:.6g}" if isinstance(v, float) else v for v in asdict(row).values()]


def markdown(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    return "\n".join("| " + " | ".join(r) + " |" for r in (head, ["---"] * len(head), *rows))


def machine() -> str:
    return f"{platform.machine()}, {os.cpu_count()} cores, one thread, torch {torch.__version__}"
