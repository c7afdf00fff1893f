"""How the files of a data directory are read, and what every data set of the benchmark is made by."""

from __future__ import annotations

import gzip
import os
from pathlib import Path

import numpy as np

from equipoise.data import Data

SPLIT = (0.55, 0.15, 0.25, 0.05)  # fit, stop, assess (which tells harm from health), test
TESTED = ("t10k-images-idx3-ubyte.gz", "t10k-labels-idx1-ubyte.gz")  # the files on which those data are tested
TRAINED = ("train-images-idx3-ubyte.gz", "train-labels-idx1-ubyte.gz")

Array = np.ndarray


def directory() -> Path:
    """Where the files are that no package carries."""
    return Path(os.environ.get("EQUIPOISE_DATA") or Path(__file__).parents[2].parent / "shared" / "data")


def some(x: Array, y: Array, rows: int) -> tuple[Array, Array]:
    """``rows`` examples, drawn once."""
    chosen = np.random.default_rng(0).permutation(len(x))[:rows]
    return x[chosen], y[chosen]


def pooled(images: Array, by: int) -> Array:
    """(n, H, W) → (n, 1, H/by, W/by), means of squares."""
    n, h, w = images.shape
    return images.reshape(n, h // by, by, w // by, by).mean((2, 4), dtype=np.float32)[:, None]


def made(x: Array, y: Array, name: str, kind: str = "table", task: str = "classify") -> Data:
    x = x if kind == "sequence" and x.dtype == np.int64 else x.astype(np.float32)
    return Data(x, y, name=name, kind=kind, task=task, split=SPLIT)


def characters(name: str, part: slice, tokens: int, rows: int) -> Data:
    """Characters of Shakespeare; is the next a vowel, a consonant, a blank or something else?"""
    written = (directory() / "text" / "tinyshakespeare.txt").read_text(encoding="utf-8")
    symbols = {c: i for i, c in enumerate(sorted(set(written)))}
    codes = np.array([symbols[c] for c in written[part]], dtype=np.int64)
    kinds = np.array([0 if c in "aeiouAEIOU" else 1 if c.isalpha() else 2 if c == " " else 3 for c in symbols])
    starts = np.random.default_rng(0).permutation(len(codes) - tokens - 1)[:rows]
    return made(codes[starts[:, None] + np.arange(tokens)], kinds[codes[starts + tokens]], name, "sequence")


def idx(name: str, x: str, y: str) -> tuple[Array, Array]:
    """Pictures and labels of a pair of gzipped idx files."""
    read = lambda f, skip: np.frombuffer(gzip.decompress((directory() / name / f).read_bytes()), np.uint8)[skip:]  # noqa: E731
    return read(x, 16).reshape(-1, 28, 28), read(y, 8).astype(np.int64)


def cifar_pictures(file: str, classes: tuple[int, ...], rows: int) -> tuple[Array, Array]:
    """Pictures (n, 3, 32, 32) of some classes among ``rows``, and their classes counted anew."""
    kept = np.load(directory() / "cifar10" / file)
    chosen, y = some(np.arange(len(kept["label"])), kept["label"].astype(np.int64), rows)
    of = np.isin(y, classes)
    # kept as differences along rows and columns; red and blue as differences from green
    x = np.cumsum(np.cumsum(kept["residual"][chosen[of]], 2, dtype=np.uint8), 3, dtype=np.uint8)
    return np.stack([x[:, 1] + x[:, 0], x[:, 0], x[:, 2] + x[:, 0]], 1), np.searchsorted(classes, y[of])


def coarse(x: Array, by: int) -> Array:
    """Means of squares, colour by colour."""
    n, c, h, w = x.shape
    return x.reshape(n, c, h // by, by, w // by, by).mean((3, 5), dtype=np.float32)


def late(name: str, classes: tuple[int, ...], rows: int) -> tuple[Array, Array]:
    """``rows`` of the last 20,000 training pictures, of some classes, counted anew."""
    x, y = (v[-20_000:] for v in idx(name, *TRAINED))
    of = np.isin(y, classes)
    x, y = some(x[of], y[of], rows)
    return x, np.searchsorted(classes, y)
