"""Encode against scikit-learn's encoders and imputer; unseen categories, missing values, what the fit rows decide."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.impute import MissingIndicator, SimpleImputer
from sklearn.preprocessing import OneHotEncoder, OrdinalEncoder
from torch import Tensor, nn

import equipoise as eq
from equipoise import techniques as T
from equipoise.data import Data
from equipoise.errors import EquipoiseError
from equipoise.feed import Schedule, fit_preparation
from equipoise.plan import Member, Options
from equipoise.recipe import resolve
from equipoise.training import train_members

COLOURS = ["red", "green", "blue", "black"]


def frame(n: int = 120, missing: bool = True) -> pd.DataFrame:
    """Two columns of numbers, two of categories; every column but `age` has missing values."""
    rng = np.random.default_rng(5)
    colour = rng.choice(COLOURS, n).astype(object)
    size = pd.Categorical(rng.choice(["S", "M", "L"], n), categories=["S", "M", "L"], ordered=True)
    out = pd.DataFrame({"age": rng.normal(40, 9, n), "colour": colour, "income": rng.gamma(2, 1e4, n), "size": size})
    if missing:
        for j, name in enumerate(("colour", "income", "size")):
            out.loc[rng.choice(n, 9 + j, replace=False), name] = np.nan
    return out


def data(x: pd.DataFrame, **rows: Any) -> Data:
    return Data(x, np.arange(len(x)) % 2, split=rows or None, name="people")


def learned(t: Any, d: Data, rows: Tensor | None = None) -> dict[str, Tensor]:
    rows = d.rows["fit"] if rows is None else rows
    return t.fit(d.x[rows], d.y[rows], d)  # type: ignore[index]


def encoded(t: Any, d: Data, rows: Tensor | None = None) -> np.ndarray:
    return t.prepare(d.x.double(), learned(t, d, rows)).numpy()  # type: ignore[union-attr]


@pytest.mark.parametrize("fill", ["mean", "median"])
@pytest.mark.parametrize("flags", [True, False])
def test_one_hot_as_scikit_learn_does(fill: str, flags: bool) -> None:
    x = frame()
    d = data(x)
    fit = d.rows["fit"].numpy()
    numbers = SimpleImputer(strategy=fill).fit(x.loc[fit, ["age", "income"]].astype(np.float32).astype(float))
    filled = numbers.transform(x[["age", "income"]].astype(np.float32).astype(float))
    missing = MissingIndicator(features="all").fit(x.iloc[fit]).transform(x)
    blocks = []
    for j, name in enumerate(x.columns):
        if name in ("age", "income"):
            blocks.append(filled[:, [0 if name == "age" else 1]])
        else:
            levels = [sorted(COLOURS)] if name == "colour" else [["S", "M", "L"]]
            encoder = OneHotEncoder(categories=levels, handle_unknown="ignore", sparse_output=False)
            blocks.append(encoder.fit(x[[name]].iloc[fit].dropna()).transform(x[[name]].astype(object)))
        if flags and name != "age":
            blocks.append(missing[:, [j]].astype(float))
    np.testing.assert_allclose(encoded(T.Encode(fill=fill, flags=flags), d), np.hstack(blocks), rtol=1e-6)


def test_ordinal_as_scikit_learn_does() -> None:
    x = frame()
    d = data(x)
    fit = d.rows["fit"].numpy()
    got = encoded(T.Encode("ordinal", flags=False), d)
    encoder = OrdinalEncoder(categories=[[*sorted(COLOURS), np.nan], ["S", "M", "L", np.nan]])
    codes = encoder.fit_transform(x[["colour", "size"]].astype(object))
    want = np.where(np.isnan(codes), np.nanmean(codes[fit], 0), codes)
    np.testing.assert_allclose(got[:, [1, 3]], want, rtol=1e-6)
    assert got.shape == (120, 4)


@pytest.mark.parametrize("categories", ["one-hot", "ordinal"])
def test_a_category_that_the_fit_rows_do_not_show(categories: str) -> None:
    """`blue` stands in the last rows alone, which are for the test: zeros, or the mean rank, as if missing."""
    x = pd.DataFrame({"colour": ["red", "black", "red", "red"] * 10 + ["blue"] * 4, "n": 1.0})
    parts = {"fit": range(20), "stop": range(20, 30), "assess": range(30, 40), "test": range(40, 44)}
    got = encoded(T.Encode(categories), data(x, **parts))
    if categories == "one-hot":
        assert got[[0, 1, 40]].tolist() == [[0, 1, 1], [1, 0, 1], [0, 0, 1]]
    else:  # black 0, red 1: blue, between them in the alphabet, leaves no gap
        assert got[[0, 1, 40]].tolist() == [[1, 1], [0, 1], [0.75, 1]]


@pytest.mark.parametrize("categories", ["one-hot", "ordinal"])
def test_codes_beyond_the_levels_count_as_unseen(categories: str) -> None:
    d = data(frame(missing=False))
    t, x = T.Encode(categories), d.x[:3].double().clone()  # type: ignore[index]
    fitted = learned(t, d)
    seen = t.prepare(x, fitted)
    x[0, 1], x[1, 1], x[2, 1] = -1.0, 4.0, 1e9
    unseen = t.prepare(x, fitted)
    assert unseen.isfinite().all()
    if categories == "one-hot":
        assert seen[:, 1:5].sum(1).tolist() == [1, 1, 1] and not unseen[:, 1:5].any()
    else:
        torch.testing.assert_close(unseen[:, 1], fitted["fill"][1].expand(3), rtol=0, atol=0)


def test_missing_values_that_the_fit_rows_do_not_show_are_filled_without_a_flag() -> None:
    x = pd.DataFrame({"n": [1.0, 3.0] * 20 + [np.nan] * 4, "m": 1.0})
    parts = {"fit": range(20), "stop": range(20, 30), "assess": range(30, 40), "test": range(40, 44)}
    assert encoded(T.Encode(), data(x, **parts))[40].tolist() == [2, 1]


def test_a_column_that_is_missing_in_all_fit_rows() -> None:
    x = pd.DataFrame({"n": [np.nan] * 40 + [5.0] * 4, "m": 1.0})
    parts = {"fit": range(20), "stop": range(20, 30), "assess": range(30, 40), "test": range(40, 44)}
    assert encoded(T.Encode(), data(x, **parts))[[0, 40]].tolist() == [[0, 1, 1], [5, 0, 1]]


def test_rows_outside_fit_change_nothing() -> None:
    x = frame()
    d = data(x)
    other = x.copy()
    outside = np.concatenate([d.rows[r].numpy() for r in ("assess", "test")])
    other.loc[outside, "colour"] = "aquamarine"  # sorts before all others: every code moves by one
    other.loc[outside, "income"] = np.nan
    new = data(other).with_rows(d.rows)
    for categories in ("one-hot", "ordinal"):
        t, fit = T.Encode(categories), d.rows["fit"].numpy()
        np.testing.assert_array_equal(encoded(t, new)[fit], encoded(t, d)[fit])


def test_runs_on_other_rows_have_the_same_columns_and_learn_from_their_own() -> None:
    """Halves of the fit rows, as the study draws them: in one, a level and the missing values do not occur."""
    x = pd.DataFrame({"colour": ["red", "black"] * 10 + ["red", "blue"] * 10 + ["red"] * 30, "n": 1.0})
    x.loc[25, "n"] = np.nan
    parts = {"fit": range(40), "stop": range(40, 50), "assess": range(50, 60), "test": range(60, 70)}
    d = data(x, **parts)
    first = encoded(T.Encode(), d, torch.arange(20))
    assert first.shape == encoded(T.Encode(), d, torch.arange(20, 40)).shape == (70, 5)
    assert first[[0, 1, 21, 25]].tolist() == [[0, 0, 1, 1, 0], [1, 0, 0, 1, 0], [0, 0, 0, 1, 0], [0, 0, 0, 1, 0]]
    recipe = resolve([T.Encode(), T.SGD(0.1)], d.task)
    halves = [Member(recipe, 1, torch.arange(20)), Member(recipe, 2, torch.arange(20, 40))]
    runs = train_members(nn.Sequential(nn.Linear(5, 2)), halves, d, Schedule(2, 5), Options())
    assert {r.record.plan["executor"] for r in runs} == {"stacked"}


def test_it_comes_before_scaling() -> None:
    d = data(frame())
    recipe = resolve([T.Standardize(), T.Encode()], "classify")
    fitted = fit_preparation({t.key: t for t in recipe.active()}, d, d.rows["fit"], torch.float64)
    assert fitted["Standardize"]["mean0"].shape == fitted["Encode"]["source"].shape
    assert fitted["Standardize"]["mean0"].isfinite().all()


@pytest.mark.parametrize("categories", ["one-hot", "ordinal"])
def test_a_cohort_equals_its_runs_alone(categories: str) -> None:
    d = data(frame())
    recipe = eq.Recipe(T.Encode(categories), T.SGD(0.1))
    runs = eq.train_many("mlp(hidden=(8,))", [recipe, recipe], d, seeds=[1, 2], epochs=2)
    assert runs[0].record.plan["executor"] == "stacked"
    alone = eq.train("mlp(hidden=(8,))", recipe, d, epochs=2, seed=2)
    np.testing.assert_allclose(runs[1].predict(d.x), alone.predict(d.x), atol=1e-5)


def test_without_it_the_first_such_column_is_named() -> None:
    with pytest.raises(EquipoiseError, match=r"'colour' holds categories.*Encode"):
        eq.train("mlp", None, data(frame()), epochs=1)
    with pytest.raises(EquipoiseError, match=r"'income' has 10 missing values \(NaN\).*Encode"):
        eq.train("mlp", None, data(frame()[["age", "income"]]), epochs=1)


def test_what_is_no_table_is_refused(images: Data) -> None:
    with pytest.raises(EquipoiseError, match="is for table data"):
        eq.train("mlp", eq.Recipe(T.Encode()), images, epochs=1)
    many = Data((torch.ones(40, 3), torch.ones(40, 2)), np.arange(40) % 2)
    with pytest.raises(EquipoiseError, match="is for one table"):
        T.Encode().fit(many.x, many.y, many)


def test_a_column_of_names_is_refused() -> None:
    x = pd.DataFrame({"id": [f"a{i}" for i in range(8000)], "n": 1.0})
    with pytest.raises(EquipoiseError, match="4800 of them from 'id'"):
        learned(T.Encode(), data(x))
    assert encoded(T.Encode("ordinal"), data(x)).shape == (8000, 2)


def test_houses_of_california() -> None:
    """207 districts without a number of bedrooms, one column of text; a linear net beats the mean by half."""
    folders = [os.environ.get("EQUIPOISE_DATA", ""), str(Path(__file__).parents[3] / "shared" / "data")]
    file = next((p for f in folders if f and (p := Path(f) / "tabular" / "california_housing.csv").is_file()), None)
    if file is None:
        pytest.skip("no tabular/california_housing.csv: set EQUIPOISE_DATA to the folder that holds it")
    d = Data.load(file, target="median_house_value", task="regress")
    run = eq.train("mlp(hidden=())", eq.Recipe(T.Encode(), T.Adam(0.01)), d, epochs=3, batch_size=256)
    fitted = run.const.fitted["Encode"]
    assert int(fitted["flag"].sum()) == 1 and int(fitted["level"].sum()) in (4, 5)
    assert run.score("assess")["r2"] > 0.5
