"""CSV files: separators, headers, missing codes, damage told with its line, and the real tables."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.datasets import load_wine

from equipoise.data import Data
from equipoise.errors import EquipoiseError

ROOT = Path(__file__).resolve().parents[2]
N = 40
NUMBERS = np.random.default_rng(1).normal(size=(N, 2)).round(3)
LABELS = np.array(["no", "yes"])[np.arange(N) % 2]


def real_tables() -> Path:
    named = re.split(f"[,{os.pathsep}]", os.environ.get("EQUIPOISE_DATA", ""))
    for folder in [*(Path(n) for n in named if n), ROOT.parent / "shared" / "data"]:
        if (folder / "tabular" / "adult-train.csv").is_file():
            return folder / "tabular"
    pytest.skip("the real tables are not there: set EQUIPOISE_DATA to the folder that holds tabular/*.csv")


def write(path: Path, separator: str = ",", header: bool = True, end: str = "\n") -> Path:
    rows = [["a", "b", "label"]] if header else []
    rows += [[str(a), str(b), label] for (a, b), label in zip(NUMBERS, LABELS, strict=True)]
    path.write_text(end.join(separator.join(r) for r in rows) + end, newline="")
    return path


def table(data: Data) -> torch.Tensor:
    assert isinstance(data.x, torch.Tensor)
    return data.x


def refused(says: str, path: Path, **options) -> None:
    with pytest.raises(EquipoiseError, match=says) as caught:
        Data.load(path, **options)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("separator", [",", ";", "\t", ", ", "; "])
def test_separators_and_headers_are_found(tmp_path, separator, end):
    for header, target in ((True, "label"), (True, 2), (True, "-1"), (False, 2), (False, "2"), (False, -1)):
        data = Data.load(write(tmp_path / "a.csv", separator, header, end), target=target)
        np.testing.assert_array_equal(table(data), NUMBERS.astype(np.float32))
        assert data.classes == ("no", "yes") and data.y.tolist() == (np.arange(N) % 2).tolist()
        assert data.columns is not None
        assert [c.name for c in data.columns] == (["a", "b"] if header else ["0", "1"])
        assert data.target_names == (("label",) if header else ("2",))
        assert data.name == "a" and data.source == str(tmp_path / "a.csv")


def test_what_pandas_writes_is_read_back(tmp_path):
    packaged: Any = load_wine(as_frame=True)
    wine = packaged.frame
    wine.to_csv(tmp_path / "wine.csv", index=False, encoding="utf-8-sig")
    data = Data.load(tmp_path / "wine.csv", target="target")
    np.testing.assert_array_equal(table(data), wine.drop(columns="target").to_numpy(np.float32))
    np.testing.assert_array_equal(data.y, wine["target"])
    pd.DataFrame(np.column_stack([NUMBERS, np.arange(N) % 2])).to_csv(tmp_path / "plain.csv", index=False)
    plain = Data.load(tmp_path / "plain.csv", target=2, task="classify")  # its header reads 0,1,2
    assert plain.n == N and plain.classes == (0, 1)


def test_quotes_may_hold_separators_and_line_ends(tmp_path):
    frame = pd.DataFrame({"a": ["x, y", 'say "z"\nagain'] * 20, "n": range(N), "label": LABELS})
    frame.to_csv(tmp_path / "a.csv", index=False)
    data = Data.load(tmp_path / "a.csv", target="label")
    assert data.columns is not None and data.columns[0].levels == ('say "z"\nagain', "x, y")


@pytest.mark.parametrize("code", ["", "NA", "?", "nan", "NaN", "N/A", "null"])
def test_missing_codes_become_nan(tmp_path, code):
    lines = ["number,town,label"] + [f"{i},T{i % 3},{i % 2}" for i in range(N)]
    lines[5], lines[8] = f"{code},T1,0", f"7, {code},1"
    (tmp_path / "a.csv").write_text("\n".join(lines))
    data = Data.load(tmp_path / "a.csv", target="label")
    assert torch.equal(table(data).isnan().nonzero(), torch.tensor([[4, 0], [7, 1]]))
    assert data.columns is not None and [c.kind for c in data.columns] == ["number", "category"]
    assert data.columns[1].levels == ("T0", "T1", "T2")
    with pytest.raises(EquipoiseError, match=r"'town' holds categories .*Encode"):
        data.ready()


def test_several_targets_groups_and_weights_are_columns(tmp_path):
    frame = pd.DataFrame(NUMBERS, columns=["a", "b"]).assign(u=NUMBERS[:, 0] * 2, v=1.5 - NUMBERS[:, 1])
    frame = frame.assign(patient=[f"p{i // 2}" for i in range(N)], w=np.linspace(1, 2, N))
    frame.to_csv(tmp_path / "a.csv", index=False)
    data = Data.load(tmp_path / "a.csv", target=["u", "v"], groups="patient", weights="w")
    assert data.task == "regress" and data.target_names == ("u", "v") and data.shape == (2,)
    np.testing.assert_array_equal(data.y, frame[["u", "v"]].to_numpy(np.float32))
    assert data.weights is not None
    np.testing.assert_array_equal(data.weights, np.linspace(1, 2, N, dtype=np.float32))
    owners = [set(r.numpy() // 2) for r in data.rows.values()]
    assert sum(map(len, owners)) == N // 2


def test_a_test_file_is_the_official_test_set(tmp_path):
    first = write(tmp_path / "a.csv")
    second = tmp_path / "b.csv"
    pd.DataFrame({"label": ["yes", "no", "no"], "b": [1, 2, 3], "a": [4, 5, 6]}).to_csv(second, index=False)
    data = Data.load(first, target="label", test=second)
    assert data.rows["test"].tolist() == [N, N + 1, N + 2] and len(data.rows["fit"]) == 28
    np.testing.assert_array_equal(table(data)[N:], [[4, 1], [5, 2], [6, 3]])
    assert data.y[N:].tolist() == [1, 0, 0]


def test_a_final_dot_of_test_labels_is_dropped_only_where_it_is_the_difference(tmp_path):
    first, second = write(tmp_path / "a.csv"), tmp_path / "b.csv"
    second.write_text("a,b,label\n1,2,yes.\n3,4,no.\n")
    assert Data.load(first, target="label", test=second).y[N:].tolist() == [1, 0]
    second.write_text("a,b,label\n1,2,yes.\n3,4,no\n")
    refused(r"class 'yes\.' \(0\)", first, target="label", test=second)


@pytest.mark.parametrize(
    ("text", "target", "says"),
    [
        ("", 0, "is empty"),
        ("\n\n  \n", 0, "is empty"),
        ("a,b,label\n", "label", "no rows below its header|its first line is no header"),
        ("a,b,label\n1,2,x\n3,4,y\n", "lable", "no target column 'lable'.*a, b, label.*Did you mean 'label'"),
        ("1,2,x\n3,4,y\n", "label", "first line is no header: name the column by its number, 0 ... 2"),
        ("a,b,label\n1,2,x\n", 3, "no column 3; the columns are 0 ... 2"),
        ("a,b,label\n1,2,x\n", None, "needs its target column"),
        ("a,b,label\n1,2,x\n", [], "give the name or number"),
        ("a,b,label\n1,2,x\n", 1.5, "give the name or number"),
        ("a,b,a\n1,2,x\n", "b", "column 'a' occurs twice"),
        ("label\n1\n2\n", "label", "no columns besides the target"),
        ("a,b,label\n1,2,x\n1,2,3,4\n", "label", "Expected 3 fields in line 3, saw 4"),
        ("a,b,label\n1,2,x,5\n1,2,3,4\n", "label", "damaged"),
        ("a,b,label\n1,2,x\n3,4\n5,6,y\n", "label", "line 3 has 2 of 3 columns"),
        ("a,b,label\n1,2,x\n3,4,y\n5", "label", "line 4 has 1 of 3 columns"),
        ('a,b,label\n1,2,x\n3,4,"y', "label", "damaged.*EOF inside string"),
        ("a,b,label\n" + "1,2,x\n" * 20, "label", "one class only"),
        ("a,b,label\n" + "".join(f"1,2,{i}\n" for i in range(30)), "label", "30 different labels in 30 rows"),
        ("a,b,label\n" + "1,2,x\n1,inf,y\n" * 20, "label", "column 'b', row 1 is inf"),
    ],
)
def test_bad_files_are_one_line(tmp_path, text, target, says):
    (tmp_path / "a.csv").write_text(text, newline="")
    refused(says, tmp_path / "a.csv", target=target)


def test_bytes_that_are_no_text_are_told(tmp_path):
    path = tmp_path / "a.csv"
    path.write_bytes("größe,label\n1,a\n".encode("latin-1"))
    refused(r"not UTF-8 \(byte 0xf6\); save it as UTF-8", path, target="label")
    path.write_bytes(b"a,label\n" + b"1,x\n" * 30000 + b"\xff,y\n")  # far below what the first look reads
    refused("not UTF-8", path, target="label")
    path.write_bytes(bytes(range(256)) * 10)
    refused("no text file", path, target=0)


def test_wrong_paths_and_test_files_are_one_line(tmp_path):
    first, second = write(tmp_path / "train.csv"), tmp_path / "other.csv"
    refused("no file .*trian.csv'. Did you mean 'train.csv'", tmp_path / "trian.csv", target="label")
    refused("no file .*none.csv", first, target="label", test=tmp_path / "none.csv")
    refused("groups='who': no such column", first, target="label", groups="who")
    refused("weights='heavy': no such column", first, target="label", weights="heavy")
    second.write_text("a,c,label\n1,2,yes\n")
    refused("other.csv lacks the column 'b' of train.csv", first, target="label", test=second)
    second.write_text("a,b,label\n1,x,yes\n2,y,no\n")
    refused(r"column 'b' holds text \('x'\) in other.csv but numbers", first, target="label", test=second)


def test_adult():
    folder = real_tables()
    data = Data.load(folder / "adult-train.csv", target=-1, test=folder / "adult-test.csv")
    assert data.n == 32561 + 16281 and data.classes == ("<=50K", ">50K") and len(data.rows["test"]) == 16281
    assert data.y[32561:].sum() == 3846 and data.y[:32561].sum() == 7841  # as adult.names has them
    assert data.columns is not None
    missing = {int(data.columns[j].name): int(m) for j, m in enumerate(table(data).isnan().sum(0)) if m}
    assert missing == {1: 1836 + 963, 6: 1843 + 966, 13: 583 + 274}
    assert [c.kind for c in data.columns].count("category") == 8 and len(data.columns[13].levels) == 41


def test_california_german_abalone_and_bikes():
    folder = real_tables()
    homes = Data.load(folder / "california_housing.csv", target="median_house_value")
    assert (homes.task, homes.n, homes.shape) == ("regress", 20640, (9,)) and int(table(homes).isnan().sum()) == 207
    german = Data.load(folder / "german.csv", target=20)
    assert german.n == 1000 and german.classes == (1, 2) and german.y.bincount().tolist() == [700, 300]
    refused("pass task='regress'", folder / "abalone.csv", target=8)
    abalone = Data.load(folder / "abalone.csv", target=8, task="regress")
    assert abalone.n == 4177 and float(abalone.y.mean()) == pytest.approx(9.934, abs=1e-3)
    bikes = Data.load(folder / "bike-sharing-hour.csv", target="cnt", task="regress", split="time", groups=None)
    assert bikes.n == 17379 and int(bikes.rows["fit"][-1]) + 1 == int(bikes.rows["stop"][0])
    red = Data.load(folder / "winequality-red.csv", target=11, task="regress", groups="duplicates")
    seen: dict[bytes, str] = {}
    for role, rows in red.rows.items():
        for row in table(red)[rows].numpy():
            assert seen.setdefault(row.tobytes(), role) == role
    assert len(seen) == 1359 and red.n == 1599
