"""A study on real digits tells planted harm from what is harmless, reads every role only as it may, and repeats."""

from __future__ import annotations

import json
from typing import Any

import jsonschema
import numpy as np
import pytest
import torch

import equipoise as eq
from equipoise import schemas
from equipoise import techniques as T
from equipoise.data import Data
from equipoise.errors import EquipoiseError
from equipoise.files import to_json
from equipoise.plan import Options
from equipoise.recipe import Recipe, resolve
from equipoise.study import Study, prepare
from equipoise.study.factors import arm, base_of, declared, question, questions

FAST: dict[str, Any] = {"lr": "fixed", "trade_splits": 0, "options": Options(threads=1, compile="never")}


@pytest.fixture(scope="module")
def digits() -> Data:
    return Data.load("digits")


def planted(digits: Data, harm: str) -> Study:
    """A harmful entry and a bystander."""
    recipe = Recipe(T.He(), T.AdamW(3e-3))
    return eq.study("mlp(hidden=(32,))", recipe, digits, f"{harm},L2(1e-6)", seeds=4, epochs=12, **FAST)


@pytest.mark.parametrize("harm", ["Constant(0)", "FlipHorizontal"])
def test_planted_harm_costs(harm: str, digits: Data) -> None:
    """Start values that are all zero; a left–right flip of the digits ("Still a cat?", D3)."""
    found = planted(digits, harm)
    verdicts = {r.technique: r.verdict for r in found.found.rows if r.metric == "loss"}
    assert verdicts[harm.partition("(")[0]] == "costs" and verdicts["L2"] not in ("pays", "costs")
    assert not any(isinstance(t, (T.Constant, T.FlipHorizontal)) for t in found.recommended)
    assert any("flip_horizontal" in n for n in found.notes) == (harm == "FlipHorizontal")
    assert found.trained.stop.shape == (4, 1, 4) and len(found.seeds) == 4 and found.to_dict()["runs"] == 16
    assert set(found.effects["metric"]) == {"loss", "accuracy", "brier"}


def test_the_same_study_again_gives_the_same_numbers(digits: Data) -> None:
    once, again = (
        eq.study("mlp(hidden=(8,))", None, digits, "Dropout(0.2),WeightDecay", seeds=2, epochs=1, **FAST)
        for _ in range(2)
    )
    np.testing.assert_array_equal(once.found.interval.effect, again.found.interval.effect)
    assert once.design.describe() == again.design.describe()


def test_assess_and_test_steer_nothing(digits: Data) -> None:
    """Other rows in assess and test: not a bit of the weights changes, early stopping included."""
    swapped = digits.with_rows({"assess": digits.rows["test"], "test": digits.rows["assess"]})
    recipe = Recipe(T.EarlyStopping(patience=2), T.Nesterov(0.1), T.Dropout(0.2))
    a, b = (eq.train("mlp(hidden=(16,))", recipe, d, epochs=6) for d in (digits, swapped))
    assert all(torch.equal(v, b.state["params"][k]) for k, v in a.state["params"].items())


def test_half_splits_and_the_rate_ladder(digits: Data) -> None:
    found = eq.study(
        "mlp(hidden=(8,))", None, digits, "BatchNorm,Dropout(0.3)", seeds=2, epochs=2, lr="ladder", trade_splits=2,
        options=Options(threads=1, compile="never"),
    )  # fmt: skip
    assert found.trained.stop.shape == (4, 3, 2) and len(found.trades) == 2 and len(found.by_rate) == 2
    assert all(np.isclose(t.bias2 + t.variance, t.risk) and t.n == 539 for t in found.trades)
    assert list(found.forms) == ["cross-entropy", "zero-one"]
    for rows in found.forms.values():
        assert [t.technique for t in rows] == [t.technique for t in found.trades]
        assert all(np.isclose(t.bias2 + t.variance, t.risk) for t in rows)
    saved = json.loads(to_json(found.to_dict()))
    jsonschema.validate(saved, schemas.load("study"))
    assert [r["rates"] for r in saved["by_rate"]] == [[0.25, 1.0, 4.0]] * 2 and len(saved["trade_forms"]) == 2


def test_seconds_are_measured_and_compiling_is_told_apart(digits: Data) -> None:
    options = Options(threads=1, compile="never")
    found = eq.study(
        "mlp(hidden=(8,))",
        None,
        digits,
        "L2,WeightDecay",
        seeds=2,
        epochs=1,
        lr="fixed",
        trade_splits=0,
        options=options,
    )
    assert found.seconds["compile"] == 0.0 < found.seconds["train"] < found.seconds["total"]
    assert found.trained.compiling == 0.0 and (found.trained.seconds > 0).all()


class TestFactors:
    def test_levels(self) -> None:
        assert question("Dropout(0.3)").entries == (None, T.Dropout(0.3))
        assert question("Dropout(0.2)|Dropout(0.5)").entries == (T.Dropout(0.2), T.Dropout(0.5))
        q = question("none|BatchNorm|LayerNorm")
        assert q.name == "normalization" and q.entries == (None, T.BatchNorm(), T.LayerNorm())
        assert q.factor.rows == ("normalization[BatchNorm()]", "normalization[LayerNorm()]")

    def test_a_technique_among_several_levels_keeps_its_interactions(self) -> None:
        asked = questions("none|BatchNorm|LayerNorm,Dropout,Cosine,MixUp")
        assert declared(asked) == [(0, 1), (3, 1), (0, 2)]
        assert declared(questions("BatchNorm|Dropout,MixUp")) == [(1, 0)]  # no interaction of a factor with itself

    def test_commas_inside_parentheses(self) -> None:
        assert [q.name for q in questions("Dropout(p=0.3, where='all'), L2")] == ["Dropout", "L2"]

    def test_a_factor_equal_to_a_base_entry_means_the_base_without_it(self) -> None:
        recipe = resolve([T.BatchNorm(), T.Cosine()])
        asked = questions("BatchNorm,Cosine,Dropout(0.2)")
        base = base_of(recipe, asked)
        assert base.find("BatchNorm") is None and base.holder("schedule") is None
        assert arm(base, asked, [1, 1, 0]).find("Cosine") == T.Cosine()
        assert set(arm(base, asked, [0, 0, 0])) == set(base)

    def test_on_replaces_the_entry_of_its_slot(self) -> None:
        base = resolve([T.He()])
        assert arm(base, questions("Xavier"), [1]).holder("initialization") == T.Xavier()

    @pytest.mark.parametrize(
        ("text", "message"),
        [("Dropout|Dropout", "two different levels"), ("", "no technique"), ("AdamW", "cannot be left empty")],
    )
    def test_what_is_no_question_is_refused(self, text: str, message: str, digits: Data) -> None:
        with pytest.raises(EquipoiseError, match=message):
            prepare("mlp", [T.AdamW()], digits, text)

    def test_default_factors_are_the_contracts(self, digits: Data) -> None:
        names = [q.name for q in prepare("mlp", None, digits, None).asked]
        assert names == ["BatchNorm", "Dropout", "WeightDecay", "LabelSmoothing", "MixUp", "RandomAffine", "Cosine"]
        table = [q.name for q in prepare("mlp", None, Data.load("diabetes"), None).asked]
        assert table == ["BatchNorm", "Dropout", "WeightDecay", "MixUp", "GaussianNoise", "Cosine"]

    def test_one_program_serves_every_default_arm(self, digits: Data) -> None:
        from equipoise.plan import Member, group

        plan = prepare("mlp(hidden=(64,64))", None, digits, None)
        assert len(group([Member(a, 0) for a in plan.arms])) <= 2
