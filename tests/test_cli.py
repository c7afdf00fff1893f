"""The command line as a user meets it: results, JSON that its schema accepts, and errors in one line, exit code 2."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pytest

from equipoise import schemas
from equipoise.cli import main

QUICK = ["--model", "mlp(hidden=(8,))", "--epochs", "1", "--threads", "1"]


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as e:
        main(list(arguments))
    out = capsys.readouterr()
    return int(e.value.code or 0), out.out, out.err


def fails(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    before = sorted(str(p) for p in Path().rglob("*"))
    code, out, err = run(capsys, *arguments)
    assert code == 2 and out == "" and err.count("\n") == 1 and "Traceback" not in err, (code, out, err)
    assert sorted(str(p) for p in Path().rglob("*")) == before, "something was half-written"
    return err


def test_train_writes_a_run_that_predicts(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(capsys, "train", "wine", *QUICK, "--json")
    assert code == 0
    saved = json.loads(out)
    jsonschema.validate(saved, schemas.load("run"))
    folder = Path("runs/wine-1")
    assert {p.name for p in folder.iterdir()} == {
        "weights.safetensors",
        "state.safetensors",
        "recipe.yaml",
        "history.csv",
        "run.json",
    }
    assert json.loads((folder / "run.json").read_text()) == saved
    np.savez("new.npz", x=np.zeros((3, 13), dtype="float32"))
    code, out, _ = run(capsys, "predict", str(folder), "new.npz", "--json")
    rows = json.loads(out)
    assert code == 0 and len(rows) == 3 and all(abs(sum(r.values()) - 1) < 1e-6 for r in rows)
    code, out, _ = run(capsys, "predict", str(folder), "new.npz", "--out", "p.csv")
    assert code == 0 and len(Path("p.csv").read_text().splitlines()) == 4


def test_the_folder_is_never_overwritten_silently(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(capsys, "train", "wine", *QUICK, "--out", "r", "--quiet")[0] == 0
    assert "--resume" in fails(capsys, "train", "wine", *QUICK, "--out", "r")
    code, out, _ = run(capsys, "train", "wine", *QUICK, "--out", "r", "--resume")
    assert code == 0 and "accuracy" in out
    assert run(capsys, "train", "wine", *QUICK, "--out", "r", "--overwrite", "--quiet")[0] == 0


def test_recipe_prints_what_is_used(capsys: pytest.CaptureFixture[str]) -> None:
    _, out, _ = run(
        capsys, "recipe", "wine", "--model", "mlp", "--without", "BatchNorm", "--with", "Nesterov(0.1)", "--json"
    )
    assert json.loads(out) == ["Standardize", "CrossEntropy", "He", "Cosine", {"Nesterov": {"rate": 0.1}}]
    Path("r.yaml").write_text("- SGD: {rate: 0.2}\n")
    _, out, _ = run(capsys, "recipe", "diabetes", "--recipe", "r.yaml", "--without", "Standardize", "--json")
    assert json.loads(out) == [{"Empty": {"of": "inputs"}}, "Targets", "SquaredError", {"SGD": {"rate": 0.2}}] or out


def test_techniques_are_machine_readable(capsys: pytest.CaptureFixture[str]) -> None:
    _, out, _ = run(capsys, "techniques", "--json")
    listed = json.loads(out)
    jsonschema.validate(listed, schemas.load("techniques"))
    dropout = next(t for t in listed if t["name"] == "Dropout")
    assert dropout["knobs"][0] == {"name": "p", "default": 0.5, "off": 0.0, "low": 0.0, "high": 1.0}


def test_a_study_is_written_whole(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(
        capsys,
        "study",
        "wine",
        *QUICK,
        "--techniques",
        "Dropout(0.3),WeightDecay",
        "--seeds",
        "2",
        "--lr",
        "fixed",
        "--out",
        "s",
        "--json",
    )
    assert code == 0
    saved = json.loads(out)
    jsonschema.validate(saved, schemas.load("study"))
    assert {p.name for p in Path("s").iterdir()} >= {"study.json", "effects.csv", "report.html", "recipe.yaml"}
    assert (
        saved["design"]["configurations"] == 4
        and saved["runs"] == 8
        and {e["technique"] for e in saved["effects"]} == {"Dropout", "WeightDecay"}
    )


def test_plan_trains_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(capsys, "study", "wine", *QUICK, "--plan", "--json")
    plan: dict[str, Any] = json.loads(out)
    assert (
        code == 0
        and plan["configurations"] == 16
        and plan["detectable"] > plan["half_width"] > 0
        and not Path("runs").exists()
    )
    assert plan["checklist"]["divergence"] == "CrossEntropy()"


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["train"], "Missing argument"),
        (["train", "wine", "--nonsense"], "No such option"),
        (["train", "wine", "--with", "Dropot"], "Did you mean 'Dropout'"),
        (["train", "wine", "--with", "Dropout(2)"], "p must lie in"),
        (["train", "wine", "--with", "Dropout(q=0.2)"], "has no 'q'"),
        (["train", "wine", "--with", "__import__('os')"], "unknown technique"),
        (["train", "wine", "--with", "SGD(.1)", "--with", "Adam"], "same place"),
        (["train", "wine", "--without", "Dropout"], "no such entry"),
        (["train", "wine", "--without", "optimizer"], "cannot be left empty"),
        (["train", "wine", "--model", "mlpp"], "unknown network"),
        (["train", "wine", "--model", "cnn"], "images"),
        (["train", "wine", "--model", "nothing.py:f"], "nothing.py"),
        (["train", "wine", "--epochs", "0"], "epochs"),
        (["train", "wine", "--seed", "-1"], "seed"),
        (["train", "wine", "--device", "cuda:99"], "device"),
        (["train", "nowhere.csv", "--target", "y"], "nowhere.csv"),
        (["train", "no-such-set"], "no-such-set"),
        (["train", "wine", "--recipe", "absent.yaml"], "absent.yaml"),
        (["train", "wine", "--with", "FlipHorizontal"], "image"),
        (["train", "wine", "--with", "Dropout(where='layers.9')"], "names no site"),
        (["train", "wine", "--with", "SquaredError", "--task", "regress", "--with", "LabelSmoothing"], "classify"),
        (["study", "wine", "--techniques", "Dropout,Nope"], "unknown technique"),
        (["study", "wine", "--seeds", "1"], "two different seed blocks"),
        (["study", "wine", "--metric", "speed"], "metric"),
        (["predict", "nowhere", "x.npz"], "nowhere"),
    ],
)
def test_bad_input_is_one_line(arguments: list[str], text: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert text in fails(capsys, *arguments)


@pytest.mark.parametrize(
    ("content", "target", "text"),
    [
        ("a,b,y\n1,2,x\n3,4,z\n", "q", "no target column"),
        ("a,b,y\n" + "1,,x\n3,4,z\n" * 20, "y", "Encode"),
        ("a,b,y\n" + "1,2,x\n" * 20, "y", "one class"),
        ("a,y\n" + "".join(f"{i},c{i}\n" for i in range(20)), "y", "labels"),
        ("", "y", "empty"),
        ("\0\1\2\3", "y", "text file"),
    ],
)
def test_bad_tables_are_one_line(content: str, target: str, text: str, capsys: pytest.CaptureFixture[str]) -> None:
    Path("t.csv").write_text(content)
    assert text in fails(capsys, "train", "t.csv", "--target", target)


def test_help_needs_no_torch(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(capsys, "--help")
    assert code == 0 and "study" in out
