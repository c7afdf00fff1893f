"""``Data`` from arrays, tensors, frames and lists: what is stored, inferred, mapped and refused."""

from __future__ import annotations

import hashlib
import pickle

import numpy as np
import pandas as pd
import pytest
import torch

from equipoise.data import ROLES, Column, Data
from equipoise.errors import EquipoiseError

N = 60
RNG = np.random.default_rng(5)
X = RNG.normal(size=(N, 3))
Y = np.arange(N) % 3


def refused(says: str, *args, **options) -> None:
    with pytest.raises(EquipoiseError, match=says) as caught:
        Data(*args, **options)
    assert "\n" not in str(caught.value)


# What is stored


def test_a_table_is_float32_in_row_order():
    data = Data(X, Y)
    assert data.kind == "table" and data.shape == (3,) and data.n == len(data) == N
    assert isinstance(data.x, torch.Tensor) and data.x.dtype == torch.float32
    np.testing.assert_array_equal(data.x, X.astype(np.float32))
    assert data.columns == (Column("x0"), Column("x1"), Column("x2"))
    assert data.y.dtype == torch.int64 and data.outputs == 3 and data.classes == (0, 1, 2)
    assert data.weights is None and data.preserves == frozenset() and data.name == data.source == "arrays"


def test_every_container_gives_the_same_data():
    containers = [X, torch.tensor(X), list(X), X.tolist(), pd.DataFrame(X), np.asfortranarray(X), list(torch.tensor(X))]
    assert {Data(x, Y).fingerprint for x in containers} == {Data(X, Y).fingerprint}


@pytest.mark.parametrize("dtype", ["f8", ">f4", "f2", "i4", "u1", "u2", "?"])
def test_numbers_of_any_dtype_become_float32_tables(dtype):
    x = (np.arange(N * 2).reshape(N, 2) % 7).astype(dtype)
    data = Data(x, Y)
    assert isinstance(data.x, torch.Tensor)
    np.testing.assert_array_equal(data.x, x.astype(np.float32))


@pytest.mark.parametrize(
    ("shape", "dtype", "kind", "want", "stored", "found"),
    [
        ((N, 1, 4, 5), np.uint8, None, (1, 4, 5), torch.uint8, "image"),
        ((N, 4, 5), np.uint8, None, (1, 4, 5), torch.uint8, "image"),
        ((N, 3, 4, 5), np.float64, None, (3, 4, 5), torch.float32, "image"),
        ((N, 4, 5), np.float64, None, (4, 5), torch.float32, "sequence"),
        ((N, 4, 5), np.float64, "image", (1, 4, 5), torch.float32, "image"),
        ((N, 2, 4, 5, 6), np.uint8, None, (2, 4, 5, 6), torch.uint8, "image"),
        ((N, 7), np.int32, "sequence", (7,), torch.int64, "sequence"),
        ((N, 7), np.float32, "sequence", (7, 1), torch.float32, "sequence"),
        ((N,), np.float64, None, (1,), torch.float32, "table"),
    ],
)
def test_shape_and_dtype_tell_the_kind(shape, dtype, kind, want, stored, found):
    raw = (np.arange(np.prod(shape)) % 11).reshape(shape).astype(dtype)
    for x in (raw, torch.from_numpy(raw)):
        data = Data(x, Y, kind=kind)
        assert isinstance(data.x, torch.Tensor)
        assert (data.kind, data.shape, data.x.dtype) == (found, want, stored)
        np.testing.assert_array_equal(data.x.reshape(shape), raw)


def test_data_owns_its_memory():
    for x in (X.astype(np.float32), torch.tensor(X, dtype=torch.float32)):
        data, y = Data(x, Y.astype(np.float32), task="regress"), Y
        before = data.fingerprint
        x[0] += 1
        fresh = Data(x, y.astype(np.float32), task="regress")
        data.__dict__.pop("fingerprint")
        assert data.fingerprint == before != fresh.fingerprint


def test_a_frame_keeps_names_categories_and_gaps():
    frame = pd.DataFrame(
        {
            "age": [30.0, np.nan] * (N // 2),
            "town": ["B", "A", None] * (N // 3),
            "size": pd.Categorical(["S", "L"] * (N // 2), categories=["S", "M", "L"]),
            "old": [True, False] * (N // 2),
            "count": pd.array([1, None, 3] * (N // 3), dtype="Int64"),
            "mixed": [1, 2.5, None] * (N // 3),
        }
    )
    data = Data(frame, pd.Series(["no", "yes"] * (N // 2), name="bought"))
    assert isinstance(data.x, torch.Tensor)
    nan = np.nan
    np.testing.assert_array_equal(data.x[:3], [[30, 1, 0, 1, 1, 1], [nan, 0, 2, 0, nan, 2.5], [30, nan, 0, 1, 3, nan]])
    assert data.columns is not None
    assert [c.kind for c in data.columns] == ["number", "category", "category", "number", "number", "number"]
    assert data.columns[1].levels == ("A", "B") and data.columns[2].levels == ("S", "M", "L")
    assert data.target_names == ("bought",) and data.classes == ("no", "yes")


def test_text_arrays_become_tables():
    x = np.array([["1.5", "red"], ["2", "blue"]] * (N // 2))
    for same in (x, x.astype(object), x.tolist(), np.char.encode(x)):
        data = Data(same, Y)
        assert data.columns == (Column("x0"), Column("x1", "category", ("blue", "red")))
        assert isinstance(data.x, torch.Tensor)
        np.testing.assert_array_equal(data.x[:2], [[1.5, 1], [2, 0]])


def test_several_inputs():
    image, table = RNG.integers(0, 255, (N, 3, 4, 4)).astype(np.uint8), X
    data = Data((image, table), Y)
    assert isinstance(data.x, tuple) and data.shape == ((3, 4, 4), (3,)) and data.kind == "image"
    assert data.columns is None
    x, y = data.select("stop")
    np.testing.assert_array_equal(x[0], image[data.rows["stop"]])
    np.testing.assert_array_equal(y, Y[data.rows["stop"]])
    tokens = RNG.integers(0, 9, (N, 5))
    both = Data((X, tokens), Y, kind=["table", "sequence"])
    assert both.inputs[1].dtype == torch.int64


# Targets


@pytest.mark.parametrize(
    ("y", "task", "classes"),
    [
        (Y, "classify", (0, 1, 2)),
        (Y.astype(np.uint8), "classify", (0, 1, 2)),
        (Y * 10 - 7, "classify", (-7, 3, 13)),
        (Y == 1, "classify", (False, True)),
        (np.array(["b", "a", "c"])[Y], "classify", ("a", "b", "c")),
        (np.array(["b", "a", "c"], dtype=object)[Y], "classify", ("a", "b", "c")),
        (np.array([b"b", b"a", b"c"])[Y], "classify", ("a", "b", "c")),
        (pd.Categorical.from_codes(Y, ["z", "y", "x"]), "classify", ("z", "y", "x")),
        (pd.Series(pd.Categorical.from_codes(Y, ["z", "y", "x"])), "classify", ("z", "y", "x")),
        (pd.Series(Y, dtype="Int64"), "classify", (0, 1, 2)),
        (torch.from_numpy(Y), "classify", (0, 1, 2)),
        (Y.tolist(), "classify", (0, 1, 2)),
        (Y[:, None], "classify", (0, 1, 2)),
        (Y.astype(float), "regress", None),
        (torch.from_numpy(Y).to(torch.bfloat16), "regress", None),
        ([0.0, 1.0, 2.0] * (N // 3), "regress", None),
        (pd.Series(Y, dtype="Float64"), "regress", None),
    ],
)
def test_the_task_follows_from_the_labels(y, task, classes):
    data = Data(X, y)
    assert data.task == task and data.classes == classes
    codes = data.y if classes else data.y[:, 0].long()
    if classes != ("a", "b", "c") and classes != (False, True):
        np.testing.assert_array_equal(codes, Y)
    else:
        assert [classes[c] for c in codes[:3]] == [v.decode() if isinstance(v, bytes) else v for v in list(y[:3])]


def test_the_task_can_be_said():
    assert Data(X, Y, task="regress").y.dtype == torch.float32
    said = Data(X, Y.astype(float), task="classify").classes
    assert said is not None and [type(c) for c in said] == [int] * 3 and said == (0, 1, 2)
    assert Data(X, Y.astype(float) + 0.5, task="classify").classes == (0.5, 1.5, 2.5)
    assert Data(X, (Y == 1), task="regress").y[:, 0].tolist() == (Y == 1).tolist()


def test_several_targets():
    y = RNG.normal(size=(N, 2))
    data = Data(X, y)
    assert data.task == "regress" and data.outputs == 2 and data.target_names == ("y0", "y1")
    np.testing.assert_array_equal(data.y, y.astype(np.float32))
    framed = Data(X, pd.DataFrame(y, columns=["height", "width"]))
    assert framed.target_names == ("height", "width")


def test_a_category_that_does_not_occur_is_no_class():
    y = pd.Categorical(["a", "b"] * (N // 2), categories=["never", "b", "a"])
    assert Data(X, y).classes == ("b", "a")


# Weights, roles, identity


def test_class_weights_are_expanded_to_rows():
    y = np.array(["a"] * 40 + ["b"] * 20)
    data = Data(X, y, weights={"a": 1, "b": 3.5})
    assert data.weights is not None
    np.testing.assert_array_equal(data.weights, [1.0] * 40 + [3.5] * 20)


def test_balanced_weights_give_each_class_the_same_sum_on_fit():
    y = np.array([0] * 45 + [1] * 15)
    data = Data(X, y, weights="balanced")
    assert data.weights is not None
    fit = data.rows["fit"]
    sums = [float(data.weights[fit][data.y[fit] == c].sum()) for c in (0, 1)]
    assert sums[0] == pytest.approx(sums[1], rel=1e-6) == pytest.approx(len(fit) / 2, rel=1e-6)


def test_row_weights_are_kept():
    w = RNG.random(N)
    for given in (w, torch.tensor(w), pd.Series(w), w.tolist()):
        data = Data(X, Y, weights=given)
        assert data.weights is not None
        np.testing.assert_array_equal(data.weights, w.astype(np.float32))


def test_the_seed_draws_the_roles_and_nothing_else():
    a, b, c = Data(X, Y, seed=1), Data(X, Y, seed=1), Data(X, Y, seed=2)
    assert a.split_dict() == b.split_dict() != c.split_dict()
    assert a.fingerprint == b.fingerprint == c.fingerprint
    assert Data(X, Y, split=a.split_dict(), seed=9).split_dict() == a.split_dict()


def test_duplicate_inputs_can_share_a_role():
    x = np.repeat(X[:30], 2, axis=0)
    data = Data(x, np.arange(N) // 2 % 3, groups="duplicates")
    role = {int(i): name for name, r in data.rows.items() for i in r}
    assert all(role[2 * i] == role[2 * i + 1] for i in range(30))
    free = Data(x, np.arange(N) // 2 % 3)
    role = {int(i): name for name, r in free.rows.items() for i in r}
    assert not all(role[2 * i] == role[2 * i + 1] for i in range(30))


def test_groups_of_text():
    groups = np.array([f"patient {i // 3}" for i in range(N)])
    data = Data(X, np.arange(N) % 2, groups=groups)
    owners = [set(groups[r.numpy()].tolist()) for r in data.rows.values()]
    codes = data.groups_of("assess")
    assert codes is not None and len(set(zip(codes, groups[data.rows["assess"].numpy()], strict=True))) == len(
        owners[2]
    )
    assert Data(X, np.arange(N) % 2).groups_of("assess") is None
    assert sum(map(len, owners)) == N // 3


def test_the_fingerprint_is_sha256_of_dtypes_shapes_and_bytes():
    data = Data(X, Y)
    want = hashlib.sha256()
    want.update(b"torch.float32(60, 3)" + X.astype("<f4").tobytes() + b"torch.int64(60,)" + Y.astype("<i8").tobytes())
    assert data.fingerprint == want.hexdigest()
    changed = X.copy()
    changed[17, 2] += 1e-3
    others = [Data(changed, Y), Data(X, np.roll(Y, 1)), Data(X, Y, weights={0: 1, 1: 1, 2: 2}), Data(X[:, ::-1], Y)]
    assert len({data.fingerprint, *(d.fingerprint for d in others)}) == 5


def test_other_rows_leave_the_data_alone():
    data = Data(X, Y, seed=4)
    half = data.rows["fit"][::2]
    other = data.with_rows({"fit": half})
    assert torch.equal(other.rows["fit"], half) and other.x is data.x
    assert all(torch.equal(other.rows[r], data.rows[r]) for r in ROLES[1:])
    assert tuple(other.rows) == ROLES and len(data.rows["fit"]) == 36 and other.fingerprint == data.fingerprint
    bag = data.with_rows({"fit": [*half.tolist(), *half.tolist()]})
    assert len(bag.select("fit")[1]) == 2 * len(half)
    with pytest.raises(EquipoiseError, match="is in 'stop' and 'fit'"):
        data.with_rows({"fit": data.rows["stop"]})


def test_data_moves_and_pickles():
    data = Data(X, Y, weights={0: 1, 1: 2, 2: 3})
    assert data.to("cpu") is data
    meta = data.to("meta")
    tensors = [*meta.inputs, meta.y, meta.weights, *meta.rows.values()]
    assert all(t is not None and t.device.type == "meta" for t in tensors) and data.y.device.type == "cpu"
    again = pickle.loads(pickle.dumps(data))
    assert again.fingerprint == data.fingerprint and again.split_dict() == data.split_dict()


def test_repr_says_what_it_is():
    assert repr(Data(X, Y)) == "Data('arrays', table 3, 3 classes, fit 36, stop 6, assess 9, test 9)"
    assert "1 target," in repr(Data(X, Y.astype(float), name="toy")) and "'toy'" in repr(Data(X, Y, name="toy"))


# Readiness


class Encode:
    """Stands for the recipe's entry of that name, which this layer knows by name only."""


def test_categories_and_gaps_need_the_entry_encode():
    gap = X.copy()
    gap[[3, 5], 1] = np.nan
    text = pd.DataFrame({"a": X[:, 0], "town": ["A", "B"] * (N // 2)})
    for x, says in ((gap, "'x1' has 2 missing values"), (text, r"'town' holds categories \('A', 'B'\)")):
        data = Data(x, Y)
        with pytest.raises(EquipoiseError, match=rf"column {says}.*entry Encode"):
            data.ready()
        with pytest.raises(EquipoiseError, match="entry Encode"):
            data.ready([object()])
        data.ready([object(), Encode()])
    Data(X, Y).ready()
    Data((X, X), Y).ready()


class SemiSupervised(Encode):
    """As above."""


class MultiTask(Encode):
    """As above."""


@pytest.mark.parametrize(
    ("y", "classes"),
    [
        (pd.Series(["a", None, "b"] * (N // 3), name="label"), ("a", "b")),
        (pd.Series(pd.Categorical(["a", None, "b"] * (N // 3)), name="label"), ("a", "b")),
        (pd.Series([3, None, 7] * (N // 3), dtype="Int64", name="label").astype(object), (3, 7)),
        (pd.Series([True, None, False] * (N // 3), dtype="boolean", name="label"), (False, True)),
    ],
)
def test_missing_labels_need_the_entry_semi_supervised(y, classes):
    data = Data(X, y, weights="balanced", task="classify")
    assert data.classes == classes and data.outputs == 2
    assert data.y.tolist() == [-1 if pd.isna(v) else classes.index(v) for v in y]
    assert len(data.rows["fit"]) == 24 + 20 and data.weights is not None
    assert torch.equal(data.weights, torch.ones(N))  # the labelled are balanced already
    with pytest.raises(EquipoiseError, match=r"'label' is missing in 20 rows \(first: row 1\).*entry SemiSupervised"):
        data.ready([Encode(), MultiTask()])
    data.ready([SemiSupervised()])
    with pytest.raises(EquipoiseError, match="has no target"):
        data.with_rows({"fit": data.rows["fit"][data.rows["fit"] != 1], "stop": [1]})


def test_missing_numbers_need_the_entry_multi_task():
    y = RNG.normal(size=(N, 2))
    y[5, 1] = y[9, 0] = np.nan
    data = Data(X, y)
    np.testing.assert_array_equal(data.y, y.astype(np.float32))
    assert {5, 9} <= set(data.rows["fit"].tolist())
    with pytest.raises(EquipoiseError, match=r"'y1' is missing in 2 rows \(first: row 5\).*entry MultiTask"):
        data.ready([SemiSupervised()])
    data.ready([MultiTask()])


# Refusals


@pytest.mark.parametrize(
    ("x", "says"),
    [
        (np.where(X > 2, np.inf, X), r"column 'x\d', row \d+ is inf in float32 .*Encode"),
        (X * 1e300, "in float32"),
        (pd.DataFrame({"income": np.where(np.arange(N) == 17, -np.inf, 0.5)}), "'income', row 17 is -inf"),
        (np.where(np.arange(N * 8).reshape(N, 1, 2, 4) == 85, np.nan, 0.0), r"x\[10, 0, 1, 1\] is nan"),
        (np.zeros((0, 3)), "no rows"),
        (np.zeros((N, 0)), "no features"),
        (3.0, "x is a float"),
        (None, "x is a NoneType"),
        ("digits", r"use Data.load\('digits'\)"),
        ({"a": [1]}, "x is a dict"),
        ([[1, 2], [3]] * 30, "differ in shape"),
        ([torch.zeros(2), torch.zeros(3)] * 30, "differ in shape"),
        (X + 1j, "x holds complex"),
        (torch.zeros(N, 2, dtype=torch.complex64), "complex"),
        (torch.zeros(N, 2).to_sparse(), "sparse"),
        (np.zeros((N, 2), dtype="M8[s]"), "x holds datetime64"),
        (pd.DataFrame({"when": pd.date_range("2026-01-01", periods=N)}), "column 'when' holds dates"),
        (pd.DataFrame([[1, 2]] * N, columns=["a", "a"]), "column 'a' occurs twice"),
        (np.zeros((N, 32, 32, 3)), "channels-last"),
        (np.zeros((N, 1, 1, 1, 1, 1)), "reshape it"),
        (np.full((N, 2, 2), None), "made of numbers"),
        ((), "0 inputs"),
        ((X, X[:50]), "x of 60, x of 50 rows and y of 60"),
        ((X, np.where(X > 2, np.nan, X)), "input 1: column .* missing values"),
        (X[:50], "x of 50 rows and y of 60"),
    ],
)
def test_bad_inputs_are_one_line(x, says):
    refused(says, x, Y)


def test_a_scipy_sparse_matrix_is_refused_with_the_way_out():
    from scipy.sparse import csr_matrix

    refused(r"sparse csr_matrix; give a dense array, x.toarray\(\)", csr_matrix(X), Y)


@pytest.mark.parametrize(
    ("y", "says"),
    [
        (np.zeros(N, int), r"one class only \(0,\)"),
        (["spam"] * N, "one class only"),
        (np.arange(N), "60 different labels in 60 rows"),
        ([f"id {i}" for i in range(N)], "60 different labels in 60 rows"),
        (np.zeros(N), "'y' is 0.0 in every row"),
        (np.full(N, np.nan), "'y' is missing in every row"),
        ([None] * N, "missing in every row"),
        (np.where(Y == 1, np.nan, 0.5), "'y' is 0.5 in every row"),
        (["a", None] * (N // 2), r"one class only \('a',\)"),
        (np.where(Y == 1, np.inf, 0.5), "'y' is not finite in row 1"),
        (np.linspace(0, 1e300, N), "float32 cannot hold"),
        (np.eye(3, dtype=int)[Y], r"y.argmax\(1\)"),
        (np.zeros((N, 2, 2)), "one label or number per row"),
        ([[1, 2], [3]] * 30, "differ in length"),
        (None, "y is NoneType"),
        ([], "y"),
        (Y + 1j, "y is complex128"),
        (Y[:50], "x of 60 rows and y of 50"),
    ],
)
def test_bad_targets_are_one_line(y, says):
    refused(says, X, y)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"task": "clasify"}, "Did you mean 'classify'"),
        ({"kind": "video"}, "one of table, image, sequence"),
        ({"kind": "image"}, r"shape \(60, 3\) as image"),
        ({"kind": ["table"]}, "one for each of several inputs"),
        ({"seed": 1.5}, "seed=1.5"),
        ({"weights": np.ones(3)}, r"shape \(3,\) for 60 rows"),
        ({"weights": -np.ones(N)}, "not negative"),
        ({"weights": np.zeros(N)}, "not all 0"),
        ({"weights": np.full(N, np.nan)}, "finite"),
        ({"weights": {0: 1, 1: 2}}, "class 2 has none"),
        ({"weights": {0: 1, 1: 2, 3: 1}}, "no class 3; the classes are 0, 1, 2"),
        ({"weights": {0: "x", 1: 2, 2: 1}}, "is a number"),
        ({"weights": "balance"}, "give 'balanced'"),
        ({"weights": [[1], [2, 3]]}, "one number per row"),
        ({"groups": [1, 2]}, r"shape \(2,\) for 60 rows"),
        ({"groups": [None] * N}, "row 0 has none"),
        ({"groups": "patient"}, "columns are for .csv files"),
    ],
)
def test_bad_options_are_one_line(options, says):
    refused(says, X, Y, **options)


def test_class_weights_need_classes():
    refused("class weights with task='regress'", X, Y, task="regress", weights={0: 1.0})
    refused("regression needs numbers", X, ["a", "b"] * (N // 2), task="regress")


def test_tokens_are_not_negative():
    refused("token -1", RNG.integers(-1, 5, (N, 7)), Y, kind="sequence")


def test_an_unknown_role_is_refused():
    with pytest.raises(EquipoiseError, match="no role 'valid'"):
        Data(X, Y).select("valid")
