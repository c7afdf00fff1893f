"""The doctor on networks written by users: every model is measured, and none of them is told to be ill."""

from __future__ import annotations

import json
from typing import Any

import jsonschema
import pytest
import torch

from equipoise import schemas
from equipoise import techniques as T
from equipoise.data import Data
from equipoise.doctor import doctor
from equipoise.plan import Options
from equipoise.recipe import Recipe
from tests.models_of_users import FOR


@pytest.fixture
def data_of(table: Data, images: Data, sequences: Data) -> Any:
    two = Data((table.x[:, :4], table.x[:, 4:]), table.y, name="two")  # type: ignore[index]
    return {"table": table, "images": images, "sequences": sequences, "two": two}.__getitem__


@pytest.mark.parametrize("name", FOR)
def test_every_model_is_measured(name: str, data_of: Any):
    build, kind = FOR[name]
    recipe = Recipe(T.Dropout(0.1, where="all"), T.AdamW(3e-3))
    seen = doctor(build, recipe, data_of(kind), steps=60, batch_size=16)
    jsonschema.validate(json.loads(json.dumps(seen.to_dict(), allow_nan=False)), schemas.load("doctor"))
    assert {"symmetry", "gradient_profile", "minibatch_shift", "landscape"} <= {m.probe for m in seen.measures}
    assert seen.ok, [f.why for f in seen.findings]


@pytest.mark.parametrize("precision", ["float64", "bfloat16"])
def test_other_precisions(precision: str, table: Data):
    seen = doctor("mlp(hidden=(8,))", None, table, steps=20, options=Options(precision=precision))
    assert seen.measures


@pytest.mark.parametrize(
    "entry", [T.SAM(), T.MixUp(0.2), T.LabelSmoothing(0.1), T.Whiteout(), T.L2(1e-3), T.EMA(), T.GradientNoise()]
)
def test_techniques_of_every_stage(entry: Any, table: Data):
    assert doctor("mlp(hidden=(8,))", Recipe(entry, T.SGD(0.1)), table, steps=12).measures


def test_the_random_numbers_of_the_caller_are_left_alone(table: Data):
    torch.manual_seed(3)
    before = torch.get_rng_state()
    doctor("mlp(hidden=(8,))", None, table, steps=5)
    assert torch.equal(before, torch.get_rng_state())
