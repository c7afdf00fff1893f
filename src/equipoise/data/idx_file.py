"""idx files, the form of MNIST: two zero bytes, a type, the number of axes, their sizes (big-endian), the values."""

from __future__ import annotations

import gzip
import math
import re
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np

from equipoise.data.raw import Raw
from equipoise.errors import EquipoiseError

Array = np.ndarray[Any, np.dtype[Any]]

_TYPES = {0x08: "u1", 0x09: "i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}


def named_like_one(path: Path) -> bool:
    """``train-images-idx3-ubyte.gz``, ``train-images.idx3-ubyte``, ``digits-labels.idx``."""
    return re.search(r"idx\d?(-|\.|$)", path.name) is not None


def read(path: Path) -> Array:
    """The array of one idx file, plain or gzipped (told by its first bytes, not by its name)."""
    try:
        content = path.read_bytes()
        if content[:2] == b"\x1f\x8b":
            content = gzip.decompress(content)
    except (EOFError, zlib.error, gzip.BadGzipFile) as e:
        raise EquipoiseError(f"{path.name} is a damaged gzip file ({e}); fetch it again") from None
    except OSError as e:
        raise EquipoiseError(f"{path} cannot be read: {e.strerror}") from None
    if len(content) < 4 or content[:2] != b"\0\0" or content[2] not in _TYPES or content[3] == 0:
        raise EquipoiseError(f"{path.name} is no idx file; it begins 00 00, a type and the number of axes")
    dtype, axes = np.dtype(_TYPES[content[2]]), content[3]
    start = 4 + 4 * axes
    shape = struct.unpack(f">{axes}I", content[4:start]) if len(content) >= start else ()
    want = start + math.prod(shape) * dtype.itemsize
    if not shape or len(content) != want:
        raise EquipoiseError(f"{path.name} is damaged: {len(content)} bytes, its header says {want}; fetch it again")
    return np.frombuffer(content, dtype, offset=start).reshape(shape)


def load(path: Path) -> Raw:
    """Images with their labels. ``path``: either file of a pair, or a folder.

    ``train-images-idx3-ubyte`` belongs to ``train-labels-idx1-ubyte``; where a pair ``t10k-...`` or ``test-...`` stands
    beside a ``train-...`` pair (or in the folder), it is the official test set.
    """
    images = _in_folder(path) if path.is_dir() else _beside(path, "labels", "images")
    images = _either(images) or images
    train = _pair(images)
    tests = [images.name.replace("train", other, 1) for other in ("t10k", "test")] if "train" in images.name else []
    found = [f for f in (_either(images.with_name(t)) for t in tests) if f is not None]
    return join(train, _pair(found[0]) if found else None, path)


def join(train: tuple[Array, Array], test: tuple[Array, Array] | None, path: Path) -> Raw:
    """One set from its parts, the test rows last."""
    x, y = train
    official = None
    if test is not None:
        if test[0].shape[1:] != x.shape[1:]:
            raise EquipoiseError(f"{path.name}: examples of shape {x.shape[1:]}, in the test part {test[0].shape[1:]}")
        official = np.arange(len(x), len(x) + len(test[0]))
        x, y = np.concatenate([x, test[0]]), np.concatenate([y, test[1]])
    return Raw(x, y, path.name.split(".")[0], str(path), official, kind="image" if x.ndim > 2 else None)


def _pair(images: Path) -> tuple[Array, Array]:
    labels = _beside(images, "images", "labels")
    x, y = read(images), read(labels)
    if y.ndim != 1 or len(x) != len(y):
        raise EquipoiseError(f"{images.name} has {len(x)} examples, {labels.name} has {y.shape} labels; they must pair")
    return x, y


def _beside(path: Path, part: str, wanted: str) -> Path:
    """The file of the pair that holds ``wanted``: ``path`` itself, or its neighbour of the other name."""
    if part not in path.name:
        if wanted in path.name:
            return path
        raise EquipoiseError(f"{path.name}: idx files come as a pair, ...images-idx3... and ...labels-idx1...")
    axes = {"labels": ("idx3", "idx1"), "images": ("idx1", "idx3")}[wanted]
    name = path.name.replace(part, wanted).replace(*axes)
    found = _either(path.with_name(name))
    if found is None:
        raise EquipoiseError(f"{path.name} needs {name} beside it; put it there")
    return found


def _either(path: Path) -> Path | None:
    """The file, or its gzipped or plain twin."""
    twin = path.with_suffix("") if path.suffix == ".gz" else path.with_name(path.name + ".gz")
    return next((p for p in (path, twin) if p.is_file()), None)


def _in_folder(folder: Path) -> Path:
    files = sorted(p for p in folder.iterdir() if "images" in p.name and named_like_one(p))
    if not files:
        raise EquipoiseError(f"{folder} holds no idx files (...-images-idx3-ubyte); give a file")
    return next((p for p in files if "train" in p.name), files[0])
