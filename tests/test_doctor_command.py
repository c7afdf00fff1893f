"""`equipoise doctor`, as it is typed."""

from __future__ import annotations

import json
from pathlib import Path

import jsonschema
import pytest

from equipoise import schemas
from equipoise.cli import main

SMALL = "doctor iris.csv --target y --model mlp(hidden=(8,)) --steps 30"


@pytest.fixture
def table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    rows = [f"{(i * 37 % 100) / 50 - 1},{(i * 61 % 97) / 48 - 1},{'ab'[int(i * 37 % 100 > 50)]}" for i in range(200)]
    (tmp_path / "iris.csv").write_text("u,v,y\n" + "\n".join(rows) + "\n")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(line: str) -> int:
    with pytest.raises(SystemExit) as e:
        main(line.split())
    return int(e.value.code or 0)


def test_json_is_valid_and_kept(table: Path, capsys: pytest.CaptureFixture[str]):
    assert run(f"{SMALL} --with Constant --fix --json --out seen") == 0
    printed = json.loads(capsys.readouterr().out)
    jsonschema.validate(printed, schemas.load("doctor"))
    assert printed["findings"][0]["probe"] == "symmetry"
    assert printed["mended"]["seeds"] == 3
    assert json.loads((table / "seen" / "doctor.json").read_text()) == printed
    assert run(f"{SMALL} --json --out seen") == 2  # not empty
    assert "--overwrite" in capsys.readouterr().err
    assert run(f"{SMALL} --json --out seen --resume") == 0
    assert json.loads(capsys.readouterr().out) == printed
    assert run(f"{SMALL} --quiet --out seen --overwrite") == 0
    assert json.loads((table / "seen" / "doctor.json").read_text())["findings"] == []


def test_people_are_told(table: Path, capsys: pytest.CaptureFixture[str]):
    assert run(f"{SMALL} --with Constant --fix") == 0
    told = capsys.readouterr().out
    assert "all units of the layer are alike" in told
    assert '["Orthogonal"]' in told
    assert "of the loss on stop goes" in told
    assert run(SMALL) == 0
    assert "nothing is wrong" in capsys.readouterr().out
    assert sorted(p.name for p in table.iterdir()) == ["iris.csv"]  # without --out nothing is written


def test_bad_steps_are_one_line(table: Path, capsys: pytest.CaptureFixture[str]):
    assert run(SMALL.replace("--steps 30", "--steps 0")) == 2
    assert capsys.readouterr().err.count("\n") == 1
