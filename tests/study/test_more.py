"""Seed blocks added to a finished study: the estimates of one that had them from the start, and intervals that pay for
every declared look."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import jsonschema
import numpy as np
import pytest
from scipy import stats as sps

from equipoise import schemas
from equipoise.errors import EquipoiseError
from equipoise.recipe import Recipe, parse
from equipoise.stats import Looks
from equipoise.study import Study, load_study
from equipoise.study.conduct import FRESH, _to_confirm
from equipoise.study.store import Store
from equipoise.study.terms import declared

from .small import Dies, dies_after, said, small

LOOKS = (2, 3)


@pytest.fixture(scope="module")
def straight() -> Study:
    """Three seed blocks from the start, one look."""
    return small(seeds=3)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("grown") / "s"


@pytest.fixture(scope="module")
def first(folder: Path) -> Study:
    return small(out=folder, seeds=2, looks=LOOKS)


@pytest.fixture(scope="module")
def grown(folder: Path, first: Study) -> Study:
    return small(out=folder, seeds=2, looks=LOOKS, more=1)


# --- the same estimates, wider intervals ------------------------------------------------------------------------------
def test_every_run_and_every_estimate_is_that_of_the_longer_study(grown: Study, straight: Study) -> None:
    assert grown.seeds == straight.seeds == [0, 1, 2]
    for metric, scores in straight.trained.scores.items():
        assert grown.trained.scores[metric].tobytes() == scores.tobytes()
    assert grown.trained.stop.tobytes() == straight.trained.stop.tobytes()
    assert grown.trained.histories == straight.trained.histories and grown.chosen == straight.chosen
    for mine, plain in zip(grown.found.rows, straight.found.rows, strict=True):
        for name in ("technique", "metric", "effect", "se", "se_seed", "se_example", "df"):
            assert getattr(mine, name) == getattr(plain, name)
    assert grown.trades == straight.trades and grown.by_rate == straight.by_rate
    assert (grown.candidate, grown.baseline) == (straight.candidate, straight.baseline)
    assert grown.recommendation == straight.recommendation


@pytest.mark.parametrize("look", [1, 2])
def test_intervals_and_p_values_pay_for_the_declared_looks(look: int, first: Study, grown: Study) -> None:
    """O'Brien and Fleming's boundary for looks at 2 and 3 of 3 blocks, found by SciPy's bivariate normal:
    P(|Z₁| < c/√t, |Z₂| < c) = .95 with t = 2/3 = corr(Z₁, Z₂)²."""
    t = 2 / 3
    both = sps.multivariate_normal(cov=[[1.0, t**0.5], [t**0.5, 1.0]])

    def inside(c: float) -> float:
        a, b = c / t**0.5, c
        return float(both.cdf([a, b]) - both.cdf([-a, b]) - both.cdf([a, -b]) + both.cdf([-a, -b]))

    low, high = 1.5, 3.0
    while high - low > 1e-9:
        low, high = (low, c) if inside(c := (low + high) / 2) > 0.95 else (c, high)
    level = 2 * sps.norm.sf(low / t**0.5 if look == 1 else low)
    study = first if look == 1 else grown
    assert study.looks == {"declared": [2, 3], "taken": [2, 3][:look], "level": pytest.approx(level, rel=1e-4)}
    for row in study.found.rows:
        assert (row.high - row.low) / 2 == pytest.approx(sps.t.isf(level / 2, row.df) * row.se, rel=1e-4)
        if row.metric == "loss":
            own = 2 * sps.t.sf(abs(row.effect) / row.se, row.df)
            assert row.p == pytest.approx(float(Looks(LOOKS, look).p(np.array([own]))[0])) and row.p > own
    assert any(n.startswith(f"look {look} of 2, declared beforehand at 2, 3 seed blocks") for n in study.notes)


def test_one_look_changes_nothing(straight: Study) -> None:
    assert straight.looks == {"declared": [3], "taken": [3], "level": 0.05}
    row = straight.found.row(straight.design.rows[0])
    assert (row.high - row.low) / 2 == pytest.approx(sps.t.isf(0.025, row.df) * row.se)
    assert not any(n.startswith("look ") for n in straight.notes)


def test_the_confirmation_spends_an_equal_part_at_every_look(first: Study) -> None:
    """Of two looks: 97.5 % instead of 95 %, by the same standard error; on 3 seeds, so that the ratio is far from 1."""
    wide = first.confirmation
    assert wide is not None
    half = (wide.high - wide.low) / 2
    ratios = [sps.t.isf(0.0125, df) / sps.t.isf(0.025, df) for df in (2.0, 23.0)]  # seeds alone to examples alone
    same = small(seeds=2)
    assert same.confirmation is not None
    assert min(ratios) * 0.99 < half / ((same.confirmation.high - same.confirmation.low) / 2) < max(ratios) * 1.01
    assert same.confirmation.difference == wide.difference


def test_looks_are_in_the_json_which_its_schema_accepts(grown: Study, folder: Path) -> None:
    saved = json.loads((folder / "study.json").read_text())
    jsonschema.validate(saved, schemas.load("study"))
    assert saved["looks"]["taken"] == [2, 3] and saved["seeds"] == 3 and saved["rates"]["chosen"] == grown.chosen
    assert set(saved["seconds"]) == {"compile", "train", "halves", "confirmation", "total"}
    assert min(v for k, v in saved["seconds"].items() if k != "compile") > 0.0 == saved["seconds"]["compile"]
    assert said(load_study(folder)) == said(grown)


# --- what may be added ------------------------------------------------------------------------------------------------
def test_more_than_was_declared_is_refused(grown: Study, folder: Path, tmp_path: Path) -> None:
    how: dict[str, Any] = {"seeds": 2, "looks": LOOKS, "out": folder}
    for given, text in [
        ({"more": 1}, r"looks were declared at 2, 3 seed blocks, and the last one is taken.*no later one would hold"),
        ({"more": 0}, "--more 0: at least one seed block"),
        ({"more": -2}, "--more -2: at least one seed block"),
        ({"more": 1, "out": tmp_path}, "holds no study to add seed blocks to"),
        ({"more": 1, "looks": (2, 4)}, r"declared looks were at 3 seed blocks, now they are at 4|declared looks were"),
    ]:
        with pytest.raises(EquipoiseError, match=text) as e:
            small(**{**how, **given})
        assert "\n" not in str(e.value)
    assert said(load_study(folder)) == said(grown)


def test_only_up_to_a_declared_look(tmp_path: Path) -> None:
    """A look that was declared may be left out; growth that is interrupted is finished before more is added."""
    how: dict[str, Any] = {
        "out": tmp_path,
        "seeds": 2,
        "looks": (2, 3, 5),
        "trade_splits": 0,
        "lr": "fixed",
        "epochs": 1,
    }
    small(**how)
    before = (tmp_path / "study.json").read_bytes()
    with pytest.raises(EquipoiseError, match=r"--more 2: looks were declared at 2, 3, 5 seed blocks.*add 1 or 3"):
        small(**how, more=2)
    with pytest.MonkeyPatch.context() as patch:
        dies_after(1, patch)
        with pytest.raises(Dies):
            small(**how, more=3)
    assert (tmp_path / "study.json").read_bytes() == before  # the earlier result is intact
    with pytest.raises(EquipoiseError, match="not finished yet; go on with it first, --resume"):
        small(**how, more=3)
    grown = small(**how, resume=True)
    assert grown.looks["taken"] == [2, 5] and grown.seeds == [0, 1, 2, 3, 4]
    assert grown.looks["level"] == pytest.approx(Looks((2, 3, 5), 3).level(0.05))


@pytest.mark.parametrize(
    ("looks", "seeds", "at"),
    [(None, 3, (3,)), (1, 4, (4,)), (3, 2, (2, 4, 6)), ((2, 5), 2, (2, 5)), ([3, 6, 9], 3, (3, 6, 9))],
)
def test_looks_are_declared_by_number_or_one_by_one(looks: Any, seeds: int, at: tuple[int, ...]) -> None:
    assert declared(looks, seeds) == at


@pytest.mark.parametrize(
    ("looks", "text"), [(0, "at least one"), ((3, 2), "must grow"), ((3, 6), "first look"), ((), "grow")]
)
def test_looks_that_cannot_be(looks: Any, text: str) -> None:
    with pytest.raises(EquipoiseError, match=text):
        declared(looks, 2)


# --- looks at test ----------------------------------------------------------------------------------------------------
def test_the_same_pair_is_confirmed_once_and_another_on_fresh_seeds() -> None:
    recipes = [Recipe(parse(f"AdamW({rate})")) for rate in (0.1, 0.2, 0.3)]

    def judged(candidate: Recipe, now: int, differ: bool = True) -> Any:
        return SimpleNamespace(candidate=candidate, baseline=recipes[0], differ=differ, looks=Looks((2, 3, 4, 5), now))

    terms: Any = SimpleNamespace(seed=7)
    with Store(None) as store:
        store.begin({}, {})
        one = _to_confirm(store, terms, judged(recipes[1], 1))
        assert one is not None and one["seeds"][0] == 7 + FRESH and one["look"] == 1
        assert _to_confirm(store, terms, judged(recipes[1], 2)) == one
        other = _to_confirm(store, terms, judged(recipes[2], 3))
        assert other is not None and other["look"] == 3 and not set(other["seeds"]) & set(one["seeds"])
        assert _to_confirm(store, terms, judged(recipes[2], 4, differ=False)) is None
        assert _to_confirm(store, terms, judged(recipes[2], 3)) == other  # asked again, in another process


def test_the_looks_at_test_are_counted(first: Study, grown: Study) -> None:
    """A second one only where another pair of recipes came out."""
    same = (first.candidate, first.baseline) == (grown.candidate, grown.baseline)
    assert first.test_looks == 1 and grown.test_looks == (1 if same else 2)
