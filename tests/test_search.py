"""Search and bias_variance: the public functions on real, small runs."""

from __future__ import annotations

import numpy as np
import pytest
from torch import nn

import equipoise as eq
from equipoise import techniques as T
from equipoise.data import Data
from equipoise.errors import EquipoiseError


def build() -> nn.Module:
    return nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 3))


def test_grid_finds_the_knob_that_trains(table: Data) -> None:
    found = eq.search(build, eq.Recipe(T.SGD(0.1)), table, {"SGD.rate": [1e-6, 0.3]}, epochs=4, method="grid")
    assert found.best.knobs == {"SGD.rate": 0.3} and len(found.trials) == 2
    assert found.recipe.find("SGD") == T.SGD(0.3)
    scores = [t.score for t in found.trials]
    assert scores == sorted(scores) and scores[1] > 1.0 > scores[0]  # ln 3 = 1.0986 untrained


@pytest.mark.parametrize("method", ["random", "tpe"])
def test_draws_stay_in_their_range_and_repeat(method: str, table: Data) -> None:
    a, b = (
        eq.search(build, None, table, {"AdamW.rate": (1e-4, 1e-1)}, trials=4, epochs=1, method=method) for _ in "ab"
    )
    assert a.trials == b.trials and all(1e-4 <= t.knobs["AdamW.rate"] <= 1e-1 for t in a.trials)


@pytest.mark.parametrize(
    ("space", "text"),
    [
        ({"SDG.rate": [1.0]}, "no 'SDG'"),
        ({"AdamW.rte": [1.0]}, "Did you mean 'rate'"),
        ({"AdamW.rate": 3}, "neither a range"),
    ],
)
def test_unknown_knobs_are_refused(space: dict[str, object], text: str, table: Data) -> None:
    with pytest.raises(EquipoiseError, match=text):
        eq.search(build, None, table, space, epochs=1)


def test_bias_and_variance_add_up_to_the_risk(table: Data) -> None:
    found = eq.bias_variance(build, eq.Recipe(T.SGD(0.2)), table, splits=3, epochs=3)
    assert found.n == len(table.rows["fit"]) // 2 and set(found.forms) == {"squared", "cross-entropy", "zero-one"}
    for d in found.forms.values():
        assert np.isclose(d.bias2 + d.variance, d.risk) and d.bias2_low <= d.bias2 <= d.bias2_high
    assert found.forms["squared"].variance > 0


def test_a_constant_predictor_has_no_variance(targets: Data) -> None:
    """At a learning rate of nothing and a zero start every training predicts the mean of its half."""
    found = eq.bias_variance(
        lambda: nn.Linear(6, 2), eq.Recipe(T.Constant(0.0), T.SGD(1e-30)), targets, splits=2, epochs=1
    )
    d = found.forms["squared"]
    half = targets.select("fit")[1].var(0).sum() / found.n
    assert d.variance < 10 * float(half)
