"""Atomic writing and JSON without NaN; the schemas against documents written by hand from the contract."""

from __future__ import annotations

import copy
import json
import math
import os
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pytest
import torch

from equipoise import files, schemas

DROPOUT = {"Dropout": {"p": 0.3, "where": ["layers.0"]}}
RUN: dict[str, Any] = {
    "schema": "equipoise/run/1",
    "run": "runs/digits-1",
    "recipe": ["Standardize", DROPOUT],
    "epochs": 3,
    "seconds": {"compile": 0.0, "train": 1.5, "total": 1.75},
    "valid": {"loss": 0.5, "accuracy": None},
    "test": {},
    "plan": {"executor": "single", "threads": 2},
    "command": "equipoise train digits",
    "seed": 0,
    "versions": {"torch": "2.13.0"},
    "data": {"fingerprint": "ab12", "split": {"fit": [0, 1], "stop": [2], "assess": [3], "test": [4]}},
    "test_looks": 0,
}
EFFECT: dict[str, Any] = {
    "technique": "Norm[batch]",
    "metric": "loss",
    "better": "lower",
    "effect": -0.02,
    "low": -0.03,
    "high": -0.01,
    "low_sim": -0.04,
    "high_sim": 0.0,
    "se_seed": 0.001,
    "se_example": 0.004,
    "df": 30.0,
    "p": 0.001,
    "p_holm": 0.007,
    "verdict": "pays",
    "alias": "Dropout×Cosine",
}
STUDY: dict[str, Any] = {
    "schema": "equipoise/study/1",
    "question": {"data": "digits", "model": "mlp", "base": ["Standardize"], "primary": "loss", "smallest": 0.002},
    "design": {
        "name": "2^(7-3)",
        "configurations": 16,
        "resolution": "IV",
        "factors": [{"name": "Dropout", "levels": ["none", "Dropout(0.2)"]}],
        "aliases": {"Dropout": ""},
    },
    "runs": 48,
    "seeds": 3,
    "programs": 4,
    "seconds": 12.5,
    "failed": {"SGD": 2},
    "effects": [EFFECT, {**EFFECT, "metric": "accuracy", "p": None, "p_holm": None, "verdict": None}],
    "interactions": [
        {"techniques": ["Dropout", "BatchNorm"], "effect": 0.0, "low": -1, "high": 1, "p": 0.5, "alias": ""}
    ],
    "trade": [
        {
            "technique": "Dropout",
            **{f"{k}{end}": 0.1 for k in ("bias2", "variance", "risk") for end in ("", "_low", "_high")},
            "profitable": True,
            "n": 500,
            "class": "variance reducer",
        }
    ],
    "test_looks": 1,
    "recommended": {"recipe": [DROPOUT], "predicted": 0.1, "why": "one gain above the smallest effect of interest"},
    "confirmation": {
        "metric": "loss",
        "recommended": 0.1,
        "baseline": 0.2,
        "difference": -0.1,
        "low": -0.2,
        "high": -0.05,
        "seeds": 10,
        "confirmed": True,
    },
}
DOCTOR: dict[str, Any] = {
    "schema": "equipoise/doctor/1",
    "findings": [
        {
            "probe": "DeadUnits",
            "severity": "fault",
            "where": "layers.1",
            "value": 0.9,
            "threshold": 0.5,
            "why": "90 % of the units are never positive",
            "proposed": ["He"],
            "source": "Lu et al. 2019",
        }
    ],
    "measures": [{"probe": "DeadUnits", "where": "layers.1", "value": 0.9, "unit": "share", "threshold": 0.5}],
    "steps": 200,
    "seconds": 3.5,
}
TECHNIQUES: Any = [
    {
        "name": "Dropout",
        "family": "noise",
        "slot": None,
        "stages": ["act"],
        "knobs": [{"name": "p", "default": 0.5, "off": 0.0, "low": 0.0, "high": 1.0}],
        "options": [{"name": "where", "default": "hidden", "choices": None}],
        "trade": "less variance, more bias, longer training",
        "sources": ["Srivastava et al. 2014"],
    }
]
ENDS = [f"{k}{end}" for k in ("bias2", "variance", "risk") for end in ("", "_low", "_high")]
BIAS_VARIANCE: dict[str, Any] = {
    "schema": "equipoise/bias-variance/1",
    "n": 539,
    "splits": 5,
    "forms": [{"form": form, **dict.fromkeys(ENDS, 0.1)} for form in ("squared", "cross-entropy", "zero-one")],
    "question": {"data": "digits", "model": "mlp", "recipe": ["Standardize", DROPOUT]},
    "epochs": 40,
    "batch_size": 64,
    "seed": 0,
    "seconds": 12.5,
    "fingerprint": "ab12",
    "versions": {"torch": "2.13.0"},
}
DOCUMENTS = {"bias_variance": BIAS_VARIANCE, "run": RUN, "study": STUDY, "doctor": DOCTOR, "techniques": TECHNIQUES}


# --- files ------------------------------------------------------------------------------------------------------------
def test_json_has_null_for_what_is_not_finite_and_numbers_for_scalars_of_any_library():
    value = {
        "floats": [1.5, math.nan, math.inf, -math.inf, np.float64("nan"), np.float32(0.5), np.float64(2)],
        "arrays": (np.array([[1, 2]]), torch.tensor([0.5, float("nan")]), torch.tensor(3), torch.ones(()).bfloat16()),
        "others": [True, np.bool_(False), np.int64(7), None, Path("a") / "b", "é×"],
    }  # fmt: skip
    assert json.loads(files.to_json(value)) == {
        "floats": [1.5, None, None, None, None, 0.5, 2],
        "arrays": [[[1, 2]], [0.5, None], 3, 1],
        "others": [True, False, 7, None, str(Path("a") / "b"), "é×"],
    }
    assert "é×" in files.to_json(value)
    assert "NaN" not in files.to_json(value)


@pytest.mark.parametrize("value", [{1: 2}, {"a": object()}, {1, 2}, b"bytes", 1j])
def test_what_has_no_json_form_is_refused_and_nothing_is_written(value: Any, tmp_path: Path):
    with pytest.raises(TypeError):
        files.write_json(tmp_path / "x.json", value)
    assert not list(tmp_path.iterdir())


def test_floats_survive_the_round_trip_exactly(tmp_path: Path):
    values = [0.1, 1 / 3, 5e-324, 1.7976931348623157e308, -0.0]
    files.write_json(tmp_path / "x.json", values)
    assert [v.hex() for v in json.loads((tmp_path / "x.json").read_text())] == [v.hex() for v in values]


@pytest.mark.parametrize("fails_in", ["fsync", "replace"])
def test_an_interrupted_write_leaves_the_old_file_and_no_other(
    fails_in: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    path = tmp_path / "run.json"
    files.write_json(path, {"old": 1})

    def interrupted(*_: Any) -> None:
        assert len(list(tmp_path.iterdir())) == 2  # the new text waits in a file of its own
        raise KeyboardInterrupt

    monkeypatch.setattr(*((os, "fsync") if fails_in == "fsync" else (Path, "replace")), interrupted)
    with pytest.raises(KeyboardInterrupt):
        files.write_json(path, {"new": 2})
    assert [p.name for p in tmp_path.iterdir()] == ["run.json"]
    assert json.loads(path.read_text()) == {"old": 1}


def test_a_written_file_replaces_the_old_one_with_ordinary_rights(tmp_path: Path):
    path, ordinary = tmp_path / "a.txt", tmp_path / "b.txt"
    files.write_text(path, "a long first text\r\n")
    files.write_text(path, "zwölf\n")
    ordinary.write_text("x")
    assert path.read_bytes() == "zwölf\n".encode()
    assert path.stat().st_mode == ordinary.stat().st_mode


# --- schemas ----------------------------------------------------------------------------------------------------------
def refusals(name: str, document: Any) -> list[str]:
    return [e.message for e in jsonschema.Draft202012Validator(schemas.load(name)).iter_errors(document)]


@pytest.mark.parametrize("name", schemas.NAMES)
def test_a_schema_is_one_and_takes_the_contracts_document(name: str):
    jsonschema.Draft202012Validator.check_schema(schemas.load(name))
    assert refusals(name, DOCUMENTS[name]) == []
    if name != "techniques":
        assert DOCUMENTS[name]["schema"] == schemas.identifier(name)


def paths(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The paths of all objects in a document that the contract spells out."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    here = [path] if isinstance(value, dict) else []
    return here + [p for k, v in inner for p in paths(v, (*path, k))]


OPEN = {
    "valid",
    "test",
    "plan",
    "versions",
    "aliases",
    "failed",
    "recipe",
    "base",
    "proposed",
}  # keys of the user's own


@pytest.mark.parametrize("name", schemas.NAMES)
def test_a_schema_refuses_a_missing_key_and_one_too_many(name: str):
    checked = 0
    for path in paths(DOCUMENTS[name]):
        if OPEN & set(path):
            continue
        for key in [None, *_at(DOCUMENTS[name], path)]:
            changed = copy.deepcopy(DOCUMENTS[name])
            if key is None:
                _at(changed, path)["surplus"] = 1
            else:
                del _at(changed, path)[key]
            assert refusals(name, changed), (path, key)
            checked += 1
    assert checked > 8


@pytest.mark.parametrize(
    ("name", "path", "value"),
    [
        ("run", ("seed",), 0.5),
        ("run", ("valid", "loss"), "0.5"),
        ("run", ("recipe", 1), {"Dropout": {}, "L2": {}}),
        ("run", ("recipe", 1), {"Dropout": 0.3}),
        ("run", ("schema",), "equipoise/run/2"),
        ("run", ("data", "split", "fit"), [-1]),
        ("study", ("effects", 0, "verdict"), "significant"),
        ("study", ("effects", 0, "p"), 1.5),
        ("study", ("effects", 0, "better"), "up"),
        ("study", ("interactions", 0, "techniques"), ["Dropout"]),
        ("study", ("trade", 0, "class"), "all"),
        ("study", ("confirmation", "confirmed"), "yes"),
        ("study", ("question", "smallest"), 0),
        ("doctor", ("findings", 0, "severity"), "error"),
        ("doctor", ("measures", 0, "value"), "0.9"),
        ("techniques", (0, "knobs", 0, "low"), "-inf"),
        ("techniques", (0, "stages"), ["act", "act"]),
    ],
)
def test_a_schema_refuses_a_wrong_value(name: str, path: tuple[Any, ...], value: Any):
    changed = copy.deepcopy(DOCUMENTS[name])
    _at(changed, path[:-1])[path[-1]] = value
    assert refusals(name, changed)


def test_optional_parts():
    more = {
        "model": "mlp",
        "epochs_trained": 3,
        "batch_size": 64,
        "shuffle": "each",
        "notes": [],
        "ended": "",
        "failed": "",
    }
    assert refusals("run", {**RUN, **more}) == []
    mended = {"gap_closed": 0.8, "low": 0.5, "high": None, "seeds": 3}
    assert refusals("doctor", {**DOCTOR, "findings": [], "mended": mended}) == []
    assert refusals("study", {**STUDY, "confirmation": None, "trade": []}) == []


def _at(document: Any, path: tuple[Any, ...]) -> Any:
    for key in path:
        document = document[key]
    return document
