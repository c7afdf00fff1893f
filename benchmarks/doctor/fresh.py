"""Small real data of the newer programs: what statsmodels and mlxtend carry, and other rows of the files."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np

from equipoise.data import Data

from .reading import TESTED, TRAINED, cifar_pictures, coarse, directory, idx, late, made, pooled, some


def packaged(name: str) -> Any:
    """A table of statsmodels."""
    import statsmodels.api as sm

    return getattr(sm.datasets, name).load_pandas().data


# --- of programs that calibrate: data that tell little, classes that are rare ---
@cache
def visits() -> Data:
    """Over eight visits to a doctor in a year, which one of nine has? Nine numbers that tell little of it."""
    table = packaged("randhie")
    y = (table.pop("mdvis") > 8).to_numpy(dtype=np.int64)
    return made(*some(table.to_numpy(), y, 1400), "visits")


@cache
def shells() -> Data:
    """Male, female or young, from the sizes, weights and rings of a shell."""
    import pandas as pd

    table = pd.read_csv(directory() / "tabular" / "abalone.csv", header=None)
    y = table.pop(0).astype("category").cat.codes.to_numpy(dtype=np.int64)
    return made(*some(table.to_numpy(), y, 1200), "shells")


# --- of programs held out ---
@cache
def votes() -> Data:
    """Clinton or Dole, 1996, from nine answers of 944 voters."""
    table = packaged("anes96").drop(columns=["logpopul"])
    y = table.pop("vote").to_numpy(dtype=np.int64)
    return made(table.to_numpy(), y, "votes")


@cache
def schools() -> Data:
    """Share of pupils above the median in mathematics, from twelve numbers of 303 districts of California."""
    table = packaged("star98")
    y = (table.NABOVE / (table.NABOVE + table.NBELOW)).to_numpy(dtype=np.float32)
    return made(table.iloc[:, 2:14].to_numpy(), y, "schools", task="regress")


@cache
def boston() -> Data:
    """Value of houses in 506 tracts of Boston."""
    from mlxtend.data import boston_housing_data

    x, y = boston_housing_data()
    return made(x, y.astype(np.float32), "boston", task="regress")


@cache
def marriages() -> Data:
    """Any affair? Eight answers of 1100 women, which tell little of it."""
    table = packaged("fair")
    y = (table.pop("affairs") > 0).to_numpy(dtype=np.int64)
    return made(*some(table.to_numpy(), y, 1100), "marriages")


@cache
def deer() -> Data:
    """Birds, deer and trucks in colour, 16×16."""
    x, y = cifar_pictures("cifar10_train.npz", (2, 4, 9), 3600)
    return made(coarse(x, 2), y, "deer", "image")


@cache
def sleeves() -> Data:
    """Shirts, pullovers, coats and dresses, row by row of 14×14 as one table."""
    x, y = late("fashion_mnist", (2, 3, 4, 6), 1300)
    return made(pooled(x, 2).reshape(-1, 196), y, "sleeves")


@cache
def nines() -> Data:
    """Fours, sevens and nines, which look alike."""
    x, y = (v[:20_000] for v in idx("mnist", *TRAINED))
    of = np.isin(y, (4, 7, 9))
    x, y = some(x[of], np.searchsorted((4, 7, 9), y[of]), 1000)
    return made(pooled(x, 2), y, "nines", "image")


@cache
def halves() -> Data:
    """The lower half of a digit, 7×7, from its upper half."""
    x, _ = some(*idx("mnist", *TESTED), 3000)
    x = pooled(x[1500:], 4).reshape(-1, 49)
    x = x[:, x.std(0) > 5]
    half = x.shape[1] // 2
    return made(x[:, :half], x[:, half:] / 255, "halves", task="regress")


@cache
def endings() -> Data:
    """Does the word go on after twelve characters, or is the next one no letter?"""
    written = (directory() / "text" / "tinyshakespeare.txt").read_text(encoding="utf-8")
    symbols = {c: i for i, c in enumerate(sorted(set(written)))}
    codes = np.array([symbols[c] for c in written[250_000:500_000]], dtype=np.int64)
    letter = np.array([c.isalpha() for c in symbols])
    starts = np.random.default_rng(3).permutation(len(codes) - 13)[:1800]
    y = letter[codes[starts + 12]].astype(np.int64)
    return made(codes[starts[:, None] + np.arange(12)], y, "endings", "sequence")


@cache
def carbon() -> Data:
    """CO₂ over Mauna Loa in eight weeks, from the last thirteen; both less the last week's."""
    level = packaged("co2").co2.interpolate().to_numpy(dtype=np.float64)
    starts = np.random.default_rng(4).permutation(len(level) - 21)[:1100]
    last = level[starts + 12]
    x = level[starts[:, None] + np.arange(13)] - last[:, None]
    y = (level[starts + 20] - last).astype(np.float32)
    return made(x[:, :, None], y, "carbon", "sequence", "regress")
