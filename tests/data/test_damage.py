"""Bad input never crashes: it loads, or ends in one line. Files damaged at random, arrays of any kind."""

from __future__ import annotations

import gzip
import struct
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from equipoise.data import ROLES, Data
from equipoise.errors import EquipoiseError

NUMBERS = np.random.default_rng(0).normal(size=(40, 16))
PIXELS = (np.abs(NUMBERS) * 80).astype(np.uint8).reshape(40, 4, 4)
FUZZ = settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def attempt(build) -> Data | None:
    """The data, whole; or None after an error that is one of ours and one line."""
    try:
        data = build()
    except EquipoiseError as e:
        assert str(e) and "\n" not in str(e)
        return None
    assert len(data.y) == data.n and all(len(t) == data.n for t in data.inputs)
    assert not data.y.isinf().any() and set(data.rows) == set(ROLES)
    assert all(data.select(role)[1].isfinite().all() for role in ROLES[1:])
    return data


def idx_bytes(array: np.ndarray) -> bytes:
    return struct.pack(f">BBBB{array.ndim}I", 0, 0, 8, array.ndim, *array.shape) + array.astype(np.uint8).tobytes()


def write_npz(folder: Path) -> Path:
    np.savez_compressed(folder / "a.npz", x=NUMBERS[:, :3], y=np.arange(40) % 2)
    return folder / "a.npz"


def write_idx(folder: Path) -> Path:
    (folder / "a-labels-idx1-ubyte").write_bytes(idx_bytes(np.arange(40) % 2))
    (folder / "a-images-idx3-ubyte").write_bytes(idx_bytes(PIXELS))
    return folder / "a-images-idx3-ubyte"


def write_gz(folder: Path) -> Path:
    (folder / "a-labels-idx1-ubyte").write_bytes(idx_bytes(np.arange(40) % 2))
    path = folder / "a-images-idx3-ubyte.gz"
    path.write_bytes(gzip.compress(idx_bytes(PIXELS), mtime=0))
    return path


def write_csv(folder: Path) -> Path:
    frame = pd.DataFrame({"a": NUMBERS[:, 0], "b": ['x, "y"', "z"] * 20, "target": ["no", "yes"] * 20})
    frame.to_csv(folder / "a.csv", index=False)
    return folder / "a.csv"


@pytest.mark.parametrize("write", [write_npz, write_idx, write_gz, write_csv])
@FUZZ
@given(draw=st.data())
def test_a_damaged_file_ends_in_one_line(write, tmp_path, draw):
    path = write(tmp_path)
    content = bytearray(path.read_bytes())
    for _ in range(draw.draw(st.integers(1, 3))):
        at = draw.draw(st.integers(0, len(content)))
        junk = draw.draw(st.binary(max_size=4))
        cut = draw.draw(st.integers(0, 4) | st.just(len(content)))
        content[at : at + cut] = junk
    path.write_bytes(content)
    attempt(lambda: Data.load(path, target="target" if path.suffix == ".csv" else None))


@pytest.mark.parametrize("suffix", [".csv", ".npz", "-images-idx3-ubyte", "-images-idx3-ubyte.gz"])
@FUZZ
@given(content=st.binary(max_size=200))
def test_junk_ends_in_one_line(suffix, tmp_path, content):
    path = tmp_path / f"junk{suffix}"
    path.write_bytes(content)
    (tmp_path / "junk-labels-idx1-ubyte").write_bytes(idx_bytes(np.arange(4) % 2))
    assert attempt(lambda: Data.load(path, target=0 if suffix == ".csv" else None)) is None


@FUZZ
@given(
    text=st.text(st.sampled_from("01a,;\t\"'\n ?.-"), max_size=300), target=st.sampled_from([0, -1, "a", "1", "a,1"])
)
def test_text_of_any_shape_loads_or_ends_in_one_line(tmp_path, text, target):
    path = tmp_path / "a.csv"
    path.write_text(text, newline="")
    attempt(lambda: Data.load(path, target=target))


CELLS = st.sampled_from(
    [0, 1, -1, 2**70, 0.5, 1e300, float("nan"), float("inf"), True, None, "a", "", "1", b"z", 1j, [1]]
)
DTYPES = st.sampled_from(
    ["f2", "f4", "f8", ">f4", "i1", "u1", "u2", "i8", "u8", "?", "c8", "U3", "S2", "O", "M8[s]", "V4"]
)
SIZES = st.sampled_from([0, 1, 2, 3, 12, 40])
SHAPES = st.lists(SIZES, max_size=5)


@st.composite
def arrays(draw, shape=None):
    shape = draw(SHAPES) if shape is None else shape
    kind = draw(st.sampled_from(["numpy", "tensor", "list", "frame", "object"]))
    if kind == "object":
        cells = np.empty(shape, dtype=object)
        few = draw(st.lists(CELLS, min_size=1, max_size=4))
        for i in range(cells.size):
            cells.flat[i] = few[i % len(few)]
        return cells
    values = (np.arange(int(np.prod(shape))) * draw(st.sampled_from([1, 3, 7]))).reshape(shape) % 5
    if kind == "frame":
        return pd.DataFrame(values) if values.ndim == 2 else pd.Series(values.ravel())
    if kind == "list":
        return values.tolist()
    if kind == "tensor":
        dtypes = [torch.float16, torch.bfloat16, torch.float64, torch.int8, torch.uint8, torch.bool, torch.complex64]
        return torch.tensor(values).to(draw(st.sampled_from(dtypes)))
    dtype = draw(DTYPES)
    return values.astype(dtype) if not dtype.startswith("V") else np.zeros(shape, dtype)


ROWS = st.lists(st.sampled_from([1, 2, 3]), max_size=3).flatmap(lambda rest: arrays(shape=[40, *rest]))
LABELS = st.sampled_from([[40], [40, 1]]).flatmap(lambda shape: arrays(shape=shape))


@settings(max_examples=400, deadline=None)
@given(
    x=ROWS | arrays() | st.tuples(ROWS, ROWS) | st.tuples(arrays(), arrays()) | CELLS | st.just(()),
    y=LABELS | ROWS | arrays() | CELLS,
    task=st.none() | st.sampled_from(["classify", "regress", "rank"]),
    kind=st.none() | st.sampled_from(["table", "image", "sequence", "sound"]),
    split=st.none()
    | st.sampled_from(["time", "60,10,15,15", "tim", (0.5, 0.5), {"test": [0, 1]}, {"fit": [0]}, 3, [], {}]),
    weights=st.none() | st.sampled_from(["balanced", "none", {0: 1}, {0: 1.0, 1: 2, 2: 3, 3: 4, 4: 5}, [1.0], -1]),
)
def test_arrays_of_any_kind_load_or_end_in_one_line(x, y, task, kind, split, weights):
    data = attempt(lambda: Data(x, y, task=task, kind=kind, split=split, weights=weights))
    if data is not None:
        assert data.fingerprint and repr(data) and data.select("fit")
        assert data.weights is None or data.weights.shape == (data.n,)
