"""A slice of the simulation bench: whole studies with known truths, and bounds that can fail."""

from __future__ import annotations

import dataclasses
import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

BENCH = Path(__file__).parents[2] / "benchmarks" / "evidence" / "simulate.py"


@pytest.fixture(scope="module")
def bench() -> ModuleType:
    spec = importlib.util.spec_from_file_location("simulate", BENCH)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["simulate"] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(
    ("name", "seeds"),
    [
        ("no technique has an effect", 3),
        ("Gaussian, four effects", 2),
        ("mostly example error", 3),
        ("two declared interactions", 2),
    ],
)
def test_intervals_cover_and_the_family_error_holds(bench: ModuleType, name: str, seeds: int) -> None:
    scenario = next(s for s in bench.SCENARIOS if s.name == name)
    row = bench.measure(scenario, seeds, 1000)
    assert row.asserted
    assert bench.broken(row, slice_only=True) == []
    assert row.seed_only < row.coverage  # an interval without the example error covers less


def test_the_bounds_see_a_wrong_interval(bench: ModuleType) -> None:
    row = bench.measure(bench.SCENARIOS[0], 3, 500)
    for wrong in ({"coverage": 0.90}, {"coverage": 0.999}, {"family": 0.12}):
        assert len(bench.broken(dataclasses.replace(row, **wrong), slice_only=True)) == 1
    assert bench.broken(dataclasses.replace(row, coverage=0.5, asserted=False), slice_only=True) == []


def test_a_factorial_saves_runs(bench: ModuleType) -> None:
    """(1 + √K)²/4 at K = 11 is 4.66."""
    saved = bench.runs_saved(11, 1000, 5)
    assert saved.predicted == pytest.approx(4.66, abs=0.005)
    assert abs(saved.by_variance - saved.predicted) < 5 * saved.by_variance_se + 0.01
    assert 1.0 < saved.by_interval < saved.by_pooled_t < saved.predicted * 1.1
