"""Arrays as raw bytes beside their type, shape and checksum: read back as exactly that, or refused."""

from __future__ import annotations

import hashlib
import json
import math
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]
TYPES = ("<f8", "<f4", "<i8")
Packed = tuple[str, str, str, bytes]


def packed(array: Array) -> Packed:
    """(dtype, shape as JSON, SHA-256, bytes) in C order, little-endian."""
    kind = "<f8" if array.dtype.kind == "f" and array.dtype.itemsize > 4 else "<f4"
    a = np.ascontiguousarray(array, dtype="<i8" if array.dtype.kind in "iub" else kind)
    data = a.tobytes()
    return a.dtype.str, json.dumps(a.shape), hashlib.sha256(data).hexdigest(), data


def unpacked(dtype: str, shape: str, sha256: str, data: bytes) -> Array:
    """The array again. ValueError or TypeError where type, shape, size or checksum are not as they must be."""
    size = json.loads(shape)
    if dtype not in TYPES:
        raise ValueError(f"an array of type {str(dtype)[:20]!r}")
    if not isinstance(size, list) or not all(type(v) is int and v >= 0 for v in size):
        raise ValueError(f"an array of shape {str(shape)[:40]}")
    if not isinstance(data, bytes) or len(data) != math.prod(size) * np.dtype(dtype).itemsize:
        raise ValueError("an array whose bytes do not fit its shape")
    if hashlib.sha256(data).hexdigest() != sha256:
        raise ValueError("the checksum of an array is wrong")
    return np.frombuffer(data, dtype=dtype).reshape(size)
