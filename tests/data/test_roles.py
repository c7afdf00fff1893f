"""The four roles: disjoint, complete, stratified to within one row, the same for the same seed, groups unbroken."""

from __future__ import annotations

import itertools
import json

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from equipoise.data import ROLES
from equipoise.data.roles import FRACTIONS, FRACTIONS_BESIDE_TEST, checked, draw
from equipoise.data.strata import allocate
from equipoise.errors import EquipoiseError

QUICK = settings(max_examples=80, deadline=None)
COUNTS = st.lists(st.integers(10, 60), min_size=2, max_size=6)
GROUPS = st.lists(st.sampled_from([1, 2, 5, 9, 30]), min_size=4, max_size=60)
SHARES = st.sampled_from([None, (0.25, 0.25, 0.25, 0.25), (50, 20, 20, 10), "70,10,10,10"])


def labels(counts: list[int], seed: int = 0) -> torch.Tensor:
    y = np.repeat(np.arange(len(counts)), counts)
    return torch.from_numpy(np.random.default_rng(seed).permutation(y))


def names(counts: list[int]) -> tuple[str, ...]:
    return tuple(f"class {c}" for c in range(len(counts)))


def assert_partition(rows: dict[str, torch.Tensor], n: int) -> None:
    assert tuple(rows) == ROLES
    for r in rows.values():
        assert r.dtype == torch.int64 and len(r) and bool((r[1:] > r[:-1]).all())
    assert torch.equal(torch.cat(list(rows.values())).sort().values, torch.arange(n))


def shares(split) -> np.ndarray:
    f = FRACTIONS if split is None else [float(v) for v in split.split(",")] if isinstance(split, str) else split
    return np.array(f) / np.sum(f)


@QUICK
@given(counts=COUNTS, split=SHARES, seed=st.integers(0, 2**31 - 1))
def test_classes_are_divided_to_within_one_row(counts, split, seed):
    y = labels(counts)
    rows = draw(split, y, names(counts), seed=seed)
    assert_partition(rows, len(y))
    for c, n in enumerate(counts):
        got = np.array([int((y[r] == c).sum()) for r in rows.values()])
        assert (np.abs(got - n * shares(split)) < 1 + 1e-9).all()
        assert (got >= 1).all()
    again = draw(split, y, names(counts), seed=seed)
    assert all(torch.equal(rows[role], again[role]) for role in ROLES)


def test_one_stratum_is_the_nearest_allocation_in_whole_numbers():
    """Largest remainder minimizes Σ(rows − quota)² over all ways to write n as a sum: enumerated."""
    f = np.array(FRACTIONS)
    for n in range(20, 41):
        quota = n * f
        near = [range(int(q), int(q) + 2) for q in quota]
        best = min((np.square(c - quota)).sum() for c in itertools.product(*near) if sum(c) == n)
        got = allocate(np.array([n]), f, 0)[0]
        assert got.sum() == n
        assert np.square(got - quota).sum() == pytest.approx(best, abs=1e-9)


def test_remainders_are_carried_so_that_the_roles_keep_their_size():
    """100 classes of 13 rows: rounding each alone would give stop 100 or 200 of its 130 rows."""
    counts = np.full(100, 13)
    cells = allocate(counts, np.array(FRACTIONS), 1)
    assert (cells.sum(1) == 13).all()
    assert (np.abs(cells - 13 * np.array(FRACTIONS)) < 1).all()
    assert (np.abs(cells.sum(0) - 1300 * np.array(FRACTIONS)) < 1).all()


def test_a_class_of_four_rows_has_one_in_each_role():
    y = labels([40, 4])
    rows = draw(None, y, ("a", "b"), seed=3)
    assert [int((y[r] == 1).sum()) for r in rows.values()] == [1, 1, 1, 1]


@QUICK
@given(n=st.integers(8, 300), seed=st.integers(0, 1000), ties=st.booleans())
def test_regression_is_stratified_by_quantile(n, seed, ties):
    y = np.random.default_rng(seed).normal(size=(n, 2)).astype(np.float32)
    y[:, 0] = np.round(y[:, 0]) if ties else y[:, 0]
    rows = draw(None, torch.from_numpy(y), None, seed=seed)
    assert_partition(rows, n)
    assert all(len(r) >= 2 for r in rows.values())
    if n >= 20:
        assert (np.abs([len(rows[r]) - n * f for r, f in zip(ROLES, FRACTIONS, strict=True)]) <= 2).all()
    if not ties and n >= 40:
        bins = max(1, min(10, n // 20))
        order = np.argsort(y[:, 0])
        for b in range(bins):  # rank r is in bin floor(r·bins/n)
            members = order[[r for r in range(n) if r * bins // n == b]]
            got = np.array([np.isin(rows[role], members).sum() for role in ROLES])
            assert (np.abs(got - len(members) * np.array(FRACTIONS)) < 1 + 1e-9).all()


def test_every_row_is_as_likely_to_be_in_fit():
    """Over 400 seeds each of 40 rows is in fit 240 ± 9.8 times; 5.9 σ is passed with p < 1e-6."""
    y, times = labels([20, 20]), torch.zeros(40)
    for seed in range(400):
        times[draw(None, y, ("a", "b"), seed=seed)["fit"]] += 1
    assert (times - 240).abs().max() < 5.9 * np.sqrt(400 * 0.6 * 0.4)
    assert (times - 240).abs().max() > 1  # and the draws do differ


@QUICK
@given(
    sizes=st.lists(st.sampled_from([1, 2, 5, 9, 30]), min_size=4, max_size=60),
    seed=st.integers(0, 1000),
    classify=st.booleans(),
)
def test_groups_stay_together(sizes, seed, classify):
    rng = np.random.default_rng(seed)
    groups = rng.permutation(np.repeat(np.arange(len(sizes)), sizes))
    n = len(groups)
    y = torch.from_numpy(np.arange(n) % 2) if classify else torch.from_numpy(rng.normal(size=(n, 1)))
    try:
        rows = draw(None, y, (0, 1) if classify else None, groups=groups, seed=seed)
    except EquipoiseError as e:
        assert n < 8 or "in 'fit'" in str(e)
        return
    assert_partition(rows, n)
    held = [set(groups[r.numpy()].tolist()) for r in rows.values()]
    assert not any(a & b for a, b in itertools.combinations(held, 2))
    if len(sizes) >= 20:  # a role runs over only where no role has room, and the roomiest holds a quarter of the group
        over = [len(rows[r]) - n * f for r, f in zip(ROLES, FRACTIONS, strict=True)]
        assert max(over) <= 0.75 * max(sizes) + 0.5


def test_uneven_groups_still_meet_the_shares():
    """Forty groups of 1 to 30 rows: .2 % of the rows are misplaced in the mean (4 % without account of room)."""
    missed = []
    for seed in range(60):
        rng = np.random.default_rng(seed)
        groups = np.repeat(np.arange(40), rng.choice([1, 2, 5, 9, 30], 40))
        y = torch.from_numpy(rng.normal(size=(len(groups), 1)))
        rows = draw(None, y, None, groups=groups, seed=seed)
        off = [abs(len(r) / len(groups) - f) for r, f in zip(rows.values(), FRACTIONS, strict=True)]
        missed.append(sum(off) / 2)
    assert np.mean(missed) < 0.005


def test_groups_of_one_row_fill_the_shares_and_the_classes():
    y = labels([300, 100])
    rows = draw(None, y, ("a", "b"), groups=np.arange(400), seed=1)
    for role, f in zip(ROLES, FRACTIONS, strict=True):
        assert abs(len(rows[role]) - 400 * f) <= 1
        assert abs(int((y[rows[role]] == 1).sum()) - 100 * f) <= 1


def test_time_keeps_the_order_of_the_rows():
    y = torch.from_numpy(np.arange(103) % 2)
    rows = draw("time", y, (0, 1), seed=9)
    assert torch.equal(torch.cat(list(rows.values())), torch.arange(103))
    assert [len(r) for r in rows.values()] == [62, 10, 16, 15]  # quotas 61.8, 10.3, 15.45, 15.45


@pytest.mark.parametrize("split", [None, "time", (0.5, 0.2, 0.2, 0.1)])
def test_an_official_test_set_stays_and_the_rest_is_divided(split):
    y, official = labels([200, 100]), np.arange(250, 300)
    rows = draw(split, y, ("a", "b"), official=official, seed=2)
    assert_partition(rows, 300)
    assert torch.equal(rows["test"], torch.from_numpy(official))
    f = np.array([5, 2, 2]) / 9 if isinstance(split, tuple) else np.array(FRACTIONS_BESIDE_TEST)
    assert (np.abs([len(rows[r]) for r in ROLES[:3]] - 250 * f) < 2).all()


def test_given_roles_are_honoured():
    y = labels([30, 30])
    given_rows = {"fit": [5, 3, 1, 9, 11, 40], "stop": np.array([0, 2]), "assess": torch.tensor([4, 7]), "test": [6, 8]}
    rows = draw(given_rows, y, ("a", "b"), seed=2)
    assert rows["fit"].tolist() == [1, 3, 5, 9, 11, 40] and rows["assess"].tolist() == [4, 7]
    mask = np.zeros(60, bool)
    mask[50:] = True
    rows = draw({"test": mask}, y, ("a", "b"), seed=2)
    assert_partition(rows, 60)
    assert rows["test"].tolist() == list(range(50, 60)) and len(rows["fit"]) == 35


def test_roles_come_back_from_a_json_file(tmp_path):
    y = labels([30, 30])
    rows = draw(None, y, ("a", "b"), seed=2)
    plain = {role: r.tolist() for role, r in rows.items()}
    for content in (plain, {"data": {"fingerprint": "0", "split": plain}}):
        path = tmp_path / "roles.json"
        path.write_text(json.dumps(content))
        again = draw(str(path), y, ("a", "b"), seed=77)
        assert all(torch.equal(rows[role], again[role]) for role in ROLES)


@pytest.mark.parametrize(
    ("split", "says"),
    [
        ({"fit": [0, 1]}, "all of fit, stop, assess, test, or 'test' alone"),
        ({}, "all of fit"),
        ({"tests": [0]}, "all of fit"),
        ({"fit": [0, 1, 10], "stop": [1], "assess": [2], "test": [3]}, "row 1 is in 'fit' and 'stop'"),
        ({"fit": [0, 10, 0], "stop": [1], "assess": [2], "test": [3]}, "twice"),
        ({"fit": [0, 10], "stop": [1], "assess": [2], "test": [60]}, "row 60; rows are 0 ... 59"),
        ({"fit": [0, 10], "stop": [1], "assess": [-2], "test": [6]}, "row -2; rows are 0 ... 59"),
        ({"fit": [0, 10], "stop": [], "assess": [2], "test": [6]}, "'stop' has no rows"),
        ({"fit": [0.5], "stop": [1], "assess": [2], "test": [6]}, "row numbers"),
        ({"test": np.arange(55)}, "5 rows to divide"),
        ((0.5, 0.5), "four shares"),
        ((0.6, 0.2, 0.2, 0.0), "above 0"),
        ((0.6, 0.2, 0.2, 0.2), "summing to 1"),
        ((0.6, 0.2, np.nan, 0.2), "four shares"),
        ("tuesday", "'time', four numbers"),
        ("1,2", "four shares"),
        ("no-such-file.json", "cannot be read"),
        (7, "four shares"),
    ],
)
def test_a_wrong_split_is_one_line(split, says):
    with pytest.raises(EquipoiseError, match=says) as caught:
        draw(split, labels([30, 30]), ("a", "b"), seed=0)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("y", "classes", "options", "says"),
    [
        (labels([30, 3]), ("a", "b"), {}, r"class 'b' \(3\): 4 roles need at least 4"),
        (torch.arange(40), tuple(range(40)), {}, "40 different labels in 40 rows.*task='regress'"),
        (torch.arange(7) % 2, (0, 1), {}, "7 rows to divide: 8 rows"),
        (torch.arange(7.0)[:, None], None, {}, "7 rows to divide"),
        (labels([30, 30]), ("a", "b"), {"groups": np.arange(60) % 3}, "3 groups for 4 roles"),
        (labels([30, 30]), ("a", "b"), {"groups": np.arange(60), "split": "time"}, "give one"),
        (torch.arange(60) // 50, ("a", "b"), {"split": "time"}, "no row of class 'b' is in 'fit'"),
        (labels([30, 30]), ("a", "b"), {"official": np.arange(58)}, "2 rows to divide: 6 rows"),
        (torch.arange(60) // 40, ("a", "b"), {"official": np.arange(40, 60)}, r"too few rows of class 'b' \(0\)"),
    ],
)
def test_too_few_rows_is_one_line(y, classes, options, says):
    options = {"split": None, **options}
    with pytest.raises(EquipoiseError, match=says) as caught:
        draw(options.pop("split"), y, classes, seed=0, **options)
    assert "\n" not in str(caught.value)


def test_a_given_split_that_tears_a_group_is_refused():
    rows = {"fit": [0, 1, 2, 3], "stop": [4], "assess": [5], "test": [6]}
    groups = np.array([10, 10, 11, 11, 11, 12, 13, 14])
    with pytest.raises(EquipoiseError, match="the group of row 2 is in 'fit' and 'stop'"):
        draw(rows, torch.arange(8) % 2, (0, 1), groups=groups, seed=0)
    with pytest.raises(EquipoiseError, match="the group of row 7 is in 'fit' and 'test'"):
        draw({"test": [9]}, torch.arange(10) % 2, (0, 1), groups=np.array([*range(8), 7, 7]), seed=0)
    groups[4] = 12
    groups[5] = 15
    assert len(draw(rows, torch.arange(8) % 2, (0, 1), groups=groups, seed=0)["fit"]) == 4


def test_a_bag_may_hold_a_row_twice():
    assert checked({"fit": [3, 3, 1]}, 5, repeats=True)["fit"].tolist() == [1, 3, 3]
    with pytest.raises(EquipoiseError, match="the roles are fit"):
        checked({"train": [1]}, 5)


@QUICK
@given(counts=COUNTS, lost=st.integers(1, 20), seed=st.integers(0, 1000), regress=st.booleans())
def test_rows_without_a_target_serve_in_fit_alone(counts, lost, seed, regress):
    y = labels([*counts, lost])
    gone = (y == len(counts)).numpy()
    y[gone] = -1
    if regress:
        y = torch.randn(len(y), 2, generator=torch.Generator().manual_seed(seed))
        y[gone, seed % 2] = float("nan")
    rows = draw(None, y, None if regress else names(counts), seed=seed)
    assert_partition(rows, len(y))
    assert gone[rows["fit"].numpy()].sum() == lost
    f = np.array(FRACTIONS) * sum(counts)
    sizes = np.array([len(r) for r in rows.values()]) - np.array([lost, 0, 0, 0])
    assert (np.abs(sizes - f) <= 2).all()


def test_rows_without_a_target_follow_their_group_and_the_clock():
    y = torch.arange(120) % 2
    y[::6] = -1
    groups = np.arange(120) // 12
    rows = draw(None, y, (0, 1), groups=groups, seed=1)
    fit, others = rows["fit"].numpy(), torch.cat([rows[r] for r in ROLES[1:]]).numpy()
    want = [i for i in range(0, 120, 6) if groups[i] in groups[fit]]
    assert [i for i in fit.tolist() if y[i] < 0] == want and 0 < len(want) < 20
    assert not set(groups[fit]) & set(groups[others]) and bool((y[others] >= 0).all())
    rows = draw("time", y, (0, 1), seed=1)
    assert [i for i in rows["fit"].tolist() if y[i] < 0] == list(range(0, int(rows["stop"][0]), 6))
    assert all(bool((y[rows[r]] >= 0).all()) for r in ROLES[1:])


def test_a_score_needs_targets():
    y = labels([30, 30])
    y[7] = -1
    given_rows = {"fit": np.arange(20, 60), "stop": [0, 1], "assess": [6, 7], "test": [2, 3]}
    with pytest.raises(EquipoiseError, match="row 7 is in 'assess' and has no target"):
        draw(given_rows, y, ("a", "b"), seed=0)
    with pytest.raises(EquipoiseError, match="row 7 is in 'test' and has no target"):
        draw({"test": [6, 7]}, y, ("a", "b"), seed=0)
    with pytest.raises(EquipoiseError, match="row 7 is in 'test' and has no target"):
        draw(None, y, ("a", "b"), official=np.arange(10), seed=0)
