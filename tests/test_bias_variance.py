"""`bias_variance` and its command: the closed form of a linear fit, real data, groups, JSON that its schema accepts."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import jsonschema
import numpy as np
import pytest

import equipoise as eq
from equipoise import schemas
from equipoise import techniques as T
from equipoise.cli import main
from equipoise.data import Data
from equipoise.errors import EquipoiseError
from equipoise.plan import Options
from equipoise.stats import interval
from equipoise.study.effects import grouped
from equipoise.study.tradeoff import decompose, squared

FAST = Options(threads=1, compile="never")
QUICK = ["--model", "mlp(hidden=(8,))", "--epochs", "2", "--threads", "1", "--compile", "never"]


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as e:
        main(["bias-variance", *arguments])
    out = capsys.readouterr()
    return int(e.value.code or 0), out.out, out.err


def test_a_constant_network_is_all_bias() -> None:
    """Without a learning rate that moves it, a network that starts at zero predicts 0.5 and 0.5 from either half."""
    x = np.random.default_rng(0).normal(size=(200, 3)).astype("float32")
    data = Data(x, np.arange(200) % 2)
    recipe = eq.Recipe(T.Constant(0.0), T.SGD(1e-30))
    got = eq.bias_variance("mlp(hidden=(4,))", recipe, data, splits=2, epochs=1, options=FAST).forms
    assert got["squared"].variance == got["cross-entropy"].variance == got["zero-one"].variance == 0.0
    assert got["squared"].bias2 == pytest.approx(0.5)  # ‖(½, ½) − (1, 0)‖²
    assert got["cross-entropy"].bias2 == pytest.approx(np.log(2.0), abs=1e-6)
    assert got["zero-one"].bias2 == got["zero-one"].risk == pytest.approx(0.5, abs=0.05)


def test_a_mean_has_the_variance_of_a_mean() -> None:
    """A network whose inputs say nothing learns its targets' mean: V = σ²/(n/2) up to its 5 SE, B² + V its loss."""
    rng = np.random.default_rng(1)
    y = rng.normal(3.0, 2.0, 400).astype("float32")
    data = Data(np.zeros((400, 2), "float32"), y, task="regress")
    recipe = eq.Recipe(T.Constant(0.0), T.SGD(0.5))
    got = eq.bias_variance("mlp(hidden=())", recipe, data, splits=20, epochs=8, batch_size=1000, options=FAST)
    want = y[data.rows["fit"].numpy()].var() / got.n
    assert abs(got.forms["squared"].variance - want) < 5 * want * np.sqrt(2 / 20)
    assert got.forms["squared"].risk == pytest.approx(got.forms["squared"].bias2 + got.forms["squared"].variance)
    assert list(got.forms) == ["squared"]


def test_groups_take_the_place_of_examples() -> None:
    rng = np.random.default_rng(2)
    f, y, groups = rng.normal(size=(4, 2, 60, 1)), rng.normal(size=(60, 1)), np.arange(60) // 5
    alone, together = decompose(f, y), decompose(f, y, squared, groups)
    _, variance = squared(f, y)
    by_hand = interval(grouped(variance, groups)[None], [1.0])
    assert together.variance == pytest.approx(alone.variance)
    assert (together.variance_low, together.variance_high) == pytest.approx((by_hand.low[0], by_hand.high[0]))


def test_the_command_writes_what_it_prints(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    code, out, err = run(capsys, "wine", *QUICK, "--with", "Dropout(0.3)", "--splits", "2", "--json")
    found = json.loads(out)
    jsonschema.validate(found, schemas.load("bias_variance"))
    assert (code, err) == (0, "")
    assert [f["form"] for f in found["forms"]] == ["squared", "cross-entropy", "zero-one"]
    assert all(abs(f["bias2"] + f["variance"] - f["risk"]) < 1e-12 for f in found["forms"])
    assert {"Dropout": {"p": 0.3}} in found["question"]["recipe"] and found["splits"] == 2
    folder = Path("runs/wine-1")
    assert json.loads((folder / "bias_variance.json").read_text()) == found
    rows = list(csv.DictReader((folder / "bias_variance.csv").read_text().splitlines()))
    assert [float(r["risk"]) for r in rows] == [f["risk"] for f in found["forms"]]

    code, out, _ = run(capsys, "wine", *QUICK, "--out", str(folder), "--resume")
    assert code == 0 and "cross-entropy" in out and f"n/2 = {found['n']}" in out and "--splits 5 or more" in out
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({**found, "forms": []}, schemas.load("bias_variance"))


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["wine", "--splits", "1"], "at least two random splits"),
        (["wine", "--splits", "many"], "valid integer"),
        (["wine", "--with", "Dropot"], "Did you mean 'Dropout'"),
        (["wine", "--epochs", "0"], "epochs"),
        ([], "Missing argument"),
    ],
)
def test_bad_input_is_one_line(
    arguments: list[str], text: str, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    code, out, err = run(capsys, *arguments)
    assert code == 2 and out == "" and err.count("\n") == 1 and text in err, err
    assert not Path("runs").exists()


def test_splits_is_checked_before_anything_is_trained() -> None:
    for splits in (1, True, 2.0):
        with pytest.raises(EquipoiseError, match="at least two random splits"):
            eq.bias_variance("mlp", None, None, splits=splits, epochs=1)  # type: ignore[arg-type]
