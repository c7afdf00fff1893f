"""Writing files that are whole or absent, and JSON without NaN."""

from __future__ import annotations

import json
import math
import os
import secrets
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any


def write_text(path: str | os.PathLike[str], text: str) -> None:
    """Write UTF-8 text, as `write_bytes` does."""
    write_bytes(path, lambda temporary: Path(temporary).write_bytes(text.encode()))


def write_bytes(path: str | os.PathLike[str], save: Callable[[str], Any]) -> None:
    """Write so that a reader sees the old file or the new one, never a part, whatever is interrupted.

    ``save(temporary path)`` writes a file beside it, which is flushed to the disk and renamed. Raises OSError where
    that is not possible.
    """
    path = Path(path)
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    try:
        save(os.fspath(temporary))
        with open(temporary, "rb") as f:
            os.fsync(f.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    _sync_folder(path.parent)


def write_json(path: str | os.PathLike[str], value: Any) -> None:
    """`write_text` of `to_json`."""
    write_text(path, to_json(value))


def to_json(value: Any) -> str:
    """Indented JSON; NaN and infinities as null, numpy and torch scalars and arrays as numbers and lists."""
    return json.dumps(plain(value), indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def plain(value: Any) -> Any:
    """``value`` in what JSON has: dicts with text keys, lists, text, finite numbers, booleans, None; else TypeError."""
    if value is None or isinstance(value, str | bool):
        return value
    if isinstance(value, int | float):
        return (float(value) if math.isfinite(value) else None) if isinstance(value, float) else int(value)
    if isinstance(value, Mapping):
        for k in value:
            if not isinstance(k, str):
                raise TypeError(f"JSON keys are text, got {k!r}")
        return {k: plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [plain(v) for v in value]
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    if hasattr(value, "tolist"):  # numpy and torch, without importing them
        return plain(value.tolist())
    raise TypeError(f"no JSON form for {type(value).__name__}")


def _sync_folder(folder: Path) -> None:
    """Make the rename itself last through a power cut, where the system can."""
    try:
        handle = os.open(folder, os.O_RDONLY)
    except OSError:  # a system on which folders cannot be opened
        return
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
