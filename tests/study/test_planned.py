"""A study before it runs: warnings told once each, declared interactions in classes of their own, several levels."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch

from equipoise import techniques as T
from equipoise.data import Data
from equipoise.errors import EquipoiseError
from equipoise.feed import Schedule
from equipoise.plan import Options
from equipoise.study.costs import by_technique, told
from equipoise.study.design import Design, Factor, make_design
from equipoise.study.planned import prepare, risks

FAST = Options(threads=1, compile="never")
NORMS = "none|BatchNorm|LayerNorm|GroupNorm(4)"


@pytest.fixture(scope="module")
def digits() -> Data:
    return Data.load("digits")


class TestRisks:
    def test_each_is_said_once_where_it_first_holds(self, digits: Data) -> None:
        asked = "BatchNorm,Dropout(0.3),FlipHorizontal,WeightDecay"
        found = risks(prepare("mlp(hidden=(8,8))", None, digits, asked), "mlp(hidden=(8,8))", digits, 64, FAST)
        assert len(found) == len(set(found)) == 2
        assert found[0].startswith("with FlipHorizontal: FlipHorizontal(): digits does not declare flip_horizontal")
        assert found[1].startswith("together: Dropout(p=0.3) acts at") and "before the batch norm" in found[1]

    def test_the_base_is_named_as_such(self, digits: Data) -> None:
        plan = prepare("mlp(hidden=(8,8))", [T.BatchNorm(), T.Dropout(), T.AdamW()], digits, "L2,WeightDecay")
        (found,) = risks(plan, "mlp(hidden=(8,8))", digits, 64, FAST)
        assert found.startswith("the base: Dropout() acts at")

    def test_small_batches(self, digits: Data) -> None:
        plan = prepare("mlp(hidden=(8,8))", None, digits, "BatchNorm,L2")
        (found,) = risks(plan, "mlp(hidden=(8,8))", digits, 4, FAST)
        assert found.startswith("with BatchNorm: BatchNorm(): 4 values per unit and batch")
        assert risks(plan, "mlp(hidden=(8,8))", digits, 64, FAST) == []


def classes(design: Design) -> list[frozenset[tuple[int, ...]]]:
    """Alias classes of the two-factor interactions of a two-level design: equal columns up to the sign."""
    found: dict[tuple[int, ...], set[tuple[int, ...]]] = {}
    for pair in itertools.combinations(range(len(design.factors)), 2):
        column = design.coded[:, pair].prod(1)
        found.setdefault(tuple((column * column[0]).astype(int)), set()).add(pair)
    return [frozenset(v) for v in found.values()]


@pytest.mark.parametrize("name", ["digits", "wine", "diabetes"])
@pytest.mark.parametrize("seed", range(5))
def test_declared_interactions_lie_in_classes_of_their_own(name: str, seed: int) -> None:
    design = prepare("mlp", None, Data.load(name), None, seed=seed).design
    assert len(design.interactions) >= 4 and design.resolution == "IV"
    held = [sum(pair in c for pair in design.interactions) for c in classes(design)]
    assert max(held) == 1 and sum(held) == len(design.interactions)
    main = design.coded.astype(int)
    for j, k in design.interactions:  # and clear of every main effect
        assert (main.T @ (main[:, j] * main[:, k]) == 0).all()
        assert "×" in design.aliases[f"{design.rows[j]}×{design.rows[k]}"]  # what it shares its class with is named


def test_what_each_technique_costs_by_itself(digits: Data) -> None:
    """Two moments more: Adam against SGD; the dimension of time is not asserted but for its sign."""
    plan = prepare("mlp(hidden=(8,))", [T.SGD(0.1)], digits, "SGD(0.1)|AdamW,Dropout")
    rows = by_technique(plan, digits, "mlp(hidden=(8,))", Schedule(1, 16), FAST)
    assert [r["technique"] for r in rows] == list(plan.design.rows)
    assert all(r["step seconds on"] > 0 < r["step seconds off"] for r in rows)
    adam, dropout = rows
    params = sum(v.numel() for v in (torch.empty(64, 8), torch.empty(8), torch.empty(8, 10), torch.empty(10)))
    assert adam["bytes on"] - adam["bytes off"] >= 2 * 4 * params  # two moments in float32
    assert dropout["bytes off"] == adam["bytes off"] < dropout["bytes on"]  # the masks
    assert told(rows).startswith("plan: a step of one run alone, against all off: optimizer[AdamW()] × ")


class TestSeveralLevels:
    def test_four_normalizations_alone(self, digits: Data) -> None:
        design = prepare("mlp", None, digits, NORMS).design
        assert (design.configurations, design.resolution) == (4, "full")
        assert design.rows == tuple(
            f"normalization[{n}]" for n in ("BatchNorm()", "LayerNorm()", "GroupNorm(groups=4)")
        )

    @pytest.mark.parametrize(
        ("others", "configurations", "resolution"),
        [("Dropout,L2", 16, "full"), ("Dropout,L2,WeightDecay,MixUp,Cosine", 32, "IV")],
    )
    def test_beside_others_the_effects_are_clear(
        self, digits: Data, others: str, configurations: int, resolution: str
    ) -> None:
        design = prepare("mlp", None, digits, f"{NORMS},{others}").design
        assert (design.configurations, design.resolution) == (configurations, resolution)
        counts = np.bincount(design.matrix[:, 0])
        assert counts.tolist() == [configurations // 4] * 4
        assert all("×" not in design.aliases[row] for row in design.rows)
        # an effect is found again where everything else moves the score, pairs of two other factors included
        y = np.array([0.0, 3.0, -1.0, 0.5])[design.matrix[:, 0]]
        y = y + design.coded[:, 1] * 2 + design.coded[:, 1] * design.coded[:, 2] * 5
        np.testing.assert_allclose((design.weights @ y)[:3], [3.0, -1.0, 0.5], atol=1e-9)

    def test_interactions_of_several_levels_take_more_configurations(self) -> None:
        """4×2×2×2: three interactions, one of four levels, are not told apart in 16 configurations, so it is 32."""
        factors = [Factor("N", ("none", "b", "l", "g")), *(Factor(x, ("none", x)) for x in "ABC")]
        pairs = [(0, 1), (0, 2), (1, 3)]
        with pytest.raises(EquipoiseError, match="cannot be told apart in 16"):
            make_design(factors, interactions=pairs, configurations=16)
        design = make_design(factors, interactions=pairs)
        assert (design.configurations, len(design.interaction_rows)) == (32, 7)
        y = design.terms(design.matrix)[:, 1:] @ (want := np.arange(1.0, 14.0))
        np.testing.assert_allclose(design.weights @ y, want)

    def test_where_it_cannot_be_clear_the_alias_is_marked(self, digits: Data) -> None:
        others = "Dropout,L2,WeightDecay,MixUp,Cosine,LabelSmoothing,GaussianNoise,RandomAffine,ClipGradients"
        design = prepare("mlp", None, digits, f"{NORMS},{others}", configurations=16).design
        assert design.resolution == "III" and design.configurations == 16
        assert any("×" in design.aliases[row] for row in design.rows[:3])
