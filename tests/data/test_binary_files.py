"""npz archives and idx files: every form they come in, and every damage told."""

from __future__ import annotations

import gzip
import struct
from pathlib import Path

import numpy as np
import pytest
import torch

from equipoise.data import Data
from equipoise.data.idx_file import read
from equipoise.errors import EquipoiseError

N = 40
PIXELS = np.random.default_rng(3).integers(0, 256, (N, 5, 4)).astype(np.uint8)
LABELS = (np.arange(N) % 2).astype(np.uint8)


def refused(says: str, path: Path, **options) -> None:
    with pytest.raises(EquipoiseError, match=says) as caught:
        Data.load(path, **options)
    assert "\n" not in str(caught.value)


def write_idx(path: Path, array: np.ndarray, code: int = 8, dtype: str = ">u1") -> Path:
    content = struct.pack(f">BBBB{array.ndim}I", 0, 0, code, array.ndim, *array.shape) + array.astype(dtype).tobytes()
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)
    return path


# npz


def test_npz_forms(tmp_path):
    path = tmp_path / "set.npz"
    for arrays in (
        {"x": PIXELS, "y": LABELS},
        {"y": LABELS, "x": PIXELS, "z": np.zeros(3)},
        {"a": PIXELS, "b": LABELS},
    ):
        for save in (np.savez, np.savez_compressed):
            save(path, **arrays)
            data = Data.load(path)
            assert isinstance(data.x, torch.Tensor) and (data.name, data.kind, data.shape) == (
                "set",
                "image",
                (1, 5, 4),
            )
            np.testing.assert_array_equal(data.x[:, 0], PIXELS)
            np.testing.assert_array_equal(data.y, LABELS)


def test_npz_with_a_test_part(tmp_path):
    np.savez(tmp_path / "a.npz", x_test=PIXELS[30:], x_train=PIXELS[:30], y_test=LABELS[30:], y_train=LABELS[:30])
    whole = Data.load(tmp_path / "a.npz")
    np.savez(tmp_path / "b.npz", x=PIXELS[:30], y=LABELS[:30])
    np.savez(tmp_path / "c.npz", x=PIXELS[30:], y=LABELS[30:])
    joined = Data.load(tmp_path / "b.npz", test=tmp_path / "c.npz")
    for data in (whole, joined):
        assert data.rows["test"].tolist() == list(range(30, 40))
        assert data.fingerprint == Data(PIXELS, LABELS).fingerprint
    refused("brings its own test part", tmp_path / "a.npz", test=tmp_path / "c.npz")
    np.savez(tmp_path / "c.npz", x=PIXELS[30:, 1:], y=LABELS[30:])
    refused(r"examples are \(5, 4\) in b, \(4, 4\) in c", tmp_path / "b.npz", test=tmp_path / "c.npz")


class Hostile:
    """Unpickling it would write a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


def test_npz_is_never_unpickled(tmp_path):
    bait = tmp_path / "bait"
    np.savez(tmp_path / "a.npz", x=np.array([Hostile(bait)], dtype=object), y=LABELS, allow_pickle=True)
    refused("never unpickled", tmp_path / "a.npz")
    assert not bait.exists()


def test_bad_npz_is_one_line(tmp_path):
    path = tmp_path / "a.npz"
    np.savez(path, x=PIXELS)
    refused("holds x; save it with np.savez", path)
    np.savez(path)
    refused("holds nothing", path)
    np.savez(path, x=PIXELS, y=LABELS[:30])
    refused("x of 40 rows and y of 30", path)
    np.savez(path, x=PIXELS, y=LABELS)
    refused("only .csv files have one", path, target="label")
    whole = path.read_bytes()
    for content in (b"", b"junk", whole[: len(whole) // 2], whole.replace(PIXELS.tobytes()[100:110], b"0123456789")):
        path.write_bytes(content)
        refused("no .npz archive, or is damaged", path)
    with path.open("wb") as f:
        np.save(f, PIXELS)
    refused("holds one array", path)


# idx


@pytest.mark.parametrize(
    ("code", "dtype"), [(8, ">u1"), (9, ">i1"), (11, ">i2"), (12, ">i4"), (13, ">f4"), (14, ">f8")]
)
def test_idx_types_are_read(tmp_path, code, dtype):
    values = (np.arange(24).reshape(4, 3, 2) * 5).astype(dtype)
    got = read(write_idx(tmp_path / "a-images-idx3-ubyte", values, code, dtype))
    np.testing.assert_array_equal(got, values)
    assert got.dtype == np.dtype(dtype)


@pytest.mark.parametrize("joint", ["-", "."])
@pytest.mark.parametrize("zipped", [("", ""), (".gz", ".gz"), ("", ".gz"), (".gz", "")])
def test_idx_pairs_are_found(tmp_path, joint, zipped):
    images = write_idx(tmp_path / f"train-images{joint}idx3-ubyte{zipped[0]}", PIXELS)
    labels = write_idx(tmp_path / f"train-labels{joint}idx1-ubyte{zipped[1]}", LABELS)
    want = Data(PIXELS, LABELS).fingerprint
    for spec in (images, labels, tmp_path, str(images)):
        data = Data.load(spec)
        assert data.fingerprint == want and data.kind == "image" and data.shape == (1, 5, 4)
        assert len(data.rows["fit"]) == 24


@pytest.mark.parametrize("prefix", ["t10k", "test"])
def test_an_idx_test_pair_is_official(tmp_path, prefix):
    write_idx(tmp_path / "train-images-idx3-ubyte", PIXELS[:30])
    write_idx(tmp_path / "train-labels-idx1-ubyte", LABELS[:30])
    test = write_idx(tmp_path / f"{prefix}-images-idx3-ubyte.gz", PIXELS[30:])
    write_idx(tmp_path / f"{prefix}-labels-idx1-ubyte.gz", LABELS[30:])
    for spec in (tmp_path, tmp_path / "train-images-idx3-ubyte"):
        data = Data.load(spec)
        assert data.fingerprint == Data(PIXELS, LABELS).fingerprint
        assert data.rows["test"].tolist() == list(range(30, 40)) and len(data.rows["fit"]) == 21
    alone = Data.load(test)
    assert alone.n == 10 and len(alone.rows["test"]) == 2


def test_bad_idx_is_one_line(tmp_path):
    images, labels = tmp_path / "a-images-idx3-ubyte", tmp_path / "a-labels-idx1-ubyte"
    write_idx(images, PIXELS)
    refused("needs a-labels-idx1-ubyte beside it", images)
    write_idx(labels, LABELS[:30])
    refused("has 40 examples, .* has .*30.* labels", images)
    write_idx(labels, PIXELS)
    refused("must pair", images)
    write_idx(labels, LABELS)
    assert Data.load(images).n == N
    refused("only .csv files have one", images, target=1)
    whole = images.read_bytes()
    for content, says in (
        (b"", "no idx file"),
        (b"\x00\x00\x08", "no idx file"),
        (b"\x00\x01" + whole[2:], "no idx file"),
        (b"\x00\x00\x07" + whole[3:], "no idx file"),
        (b"\x00\x00\x08\x00", "no idx file"),
        (whole[:10], "is damaged"),
        (whole[:-1], "is damaged: 815 bytes, its header says 816"),
        (whole + b"0", "is damaged"),
        (whole[:4] + b"\xff" * 12 + whole[16:], "is damaged"),
        (gzip.compress(whole)[:-20], "damaged gzip"),
        (gzip.compress(whole)[:30] + b"junk" + gzip.compress(whole)[34:], "damaged gzip"),
    ):
        images.write_bytes(content)
        refused(says, images)
    (tmp_path / "b-idx3-ubyte").write_bytes(whole)
    refused("come as a pair", tmp_path / "b-idx3-ubyte")
    (tmp_path / "empty").mkdir()
    refused("holds no idx files", tmp_path / "empty")


def test_an_unknown_form_is_one_line(tmp_path):
    (tmp_path / "a.parquet").write_bytes(b"PAR1")
    refused("a.parquet: its form is not known; give a .csv", tmp_path / "a.parquet")
    refused("no data set or file .*nothing.here", tmp_path / "nothing.here")
    with pytest.raises(EquipoiseError, match=r"data is a ndarray; .*use Data\(x, y\)"):
        Data.load(PIXELS)  # pyright: ignore[reportArgumentType]
