"""numpy archives: the arrays ``x`` and ``y``, or the first two; never unpickled."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from equipoise.data.raw import Raw
from equipoise.errors import EquipoiseError


def load(path: Path) -> Raw:
    """``x`` and ``y``; or ``x_train, y_train, x_test, y_test``, its test part official; or the first two arrays."""
    arrays = _arrays(path)
    official = None
    if {"x_train", "y_train", "x_test", "y_test"} <= set(arrays):
        n, m = len(arrays["x_train"]), len(arrays["x_test"])
        if arrays["x_train"].shape[1:] != arrays["x_test"].shape[1:] or arrays["x_train"].ndim == 0:
            raise EquipoiseError(f"{path.name}: the examples of x_train and x_test differ in shape")
        x = np.concatenate([arrays["x_train"], arrays["x_test"]])
        y = np.concatenate([arrays["y_train"], arrays["y_test"]])
        official = np.arange(n, n + m)
    elif {"x", "y"} <= set(arrays):
        x, y = arrays["x"], arrays["y"]
    elif len(arrays) >= 2:
        x, y = list(arrays.values())[:2]
    else:
        held = ", ".join(arrays) or "nothing"
        raise EquipoiseError(f"{path.name} holds {held}; save it with np.savez(path, x=..., y=...)")
    return Raw(x, y, path.stem, str(path), official)


def _arrays(path: Path) -> dict[str, np.ndarray[Any, np.dtype[Any]]]:
    try:
        archive = np.load(path, allow_pickle=False)
        if isinstance(archive, np.ndarray):
            raise EquipoiseError(f"{path.name} holds one array; save both with np.savez(path, x=..., y=...)")
        with archive:
            return {name: archive[name] for name in archive.files}
    except EquipoiseError:
        raise
    except Exception as e:  # the decoders raise a dozen kinds for damaged bytes; none of them is ours
        if "Object arrays" in str(e):
            reason = "it holds Python objects, which are never unpickled: save numbers or text"
        else:
            reason = "it is no .npz archive, or is damaged: " + " ".join(f"{type(e).__name__} {e}".split())[:120]
        raise EquipoiseError(f"{path.name}: {reason}") from None
