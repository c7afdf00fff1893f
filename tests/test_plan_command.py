"""`equipoise study --plan` and `--budget` as a user meets them: what is told, what is refused, what is run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from equipoise.cli import main

QUICK = ["--model", "mlp(hidden=(8,))", "--epochs", "1", "--threads", "1", "--compile", "never"]
TWO = ["--techniques", "Dropout(0.3),WeightDecay"]


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def study(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as e:
        main(["study", "wine", *QUICK, *arguments])
    out = capsys.readouterr()
    return int(e.value.code or 0), out.out, out.err


def test_a_plan_tells_time_memory_and_what_it_could_detect(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = study(capsys, "--plan", "--with", "Dropout(0.5)", "--without", "Standardize", "--seeds", "4")
    assert (code, err) == (0, "") and not Path("runs").exists()
    assert "16 configurations × 4 seeds × 3 rates + 64 on halves + 20 to confirm = 276 runs" in out
    told = ("run-steps", "MB at the peak", "found with probability .80", "16 × 4 × 3 × ", "divergence: CrossEntropy")
    assert all(part in out for part in told)
    assert "a step of one run alone, against all off: Dropout × " not in out and "all off: BatchNorm × " in out


def test_warnings_are_told_before_anything_is_trained(capsys: pytest.CaptureFixture[str]) -> None:
    _, out, _ = study(capsys, "--plan", *TWO, "--with", "BatchNorm", "--batch-size", "4", "--json")
    told: dict[str, Any] = json.loads(out)
    assert any(w.startswith("the base: BatchNorm(): 4 values per unit and batch") for w in told["warnings"])


def test_a_budget_is_met_and_told(capsys: pytest.CaptureFixture[str]) -> None:
    _, out, _ = study(capsys, "--plan", *TWO, "--budget", "1d", "--json")
    told: dict[str, Any] = json.loads(out)
    assert told["seeds"] == 10 and told["configurations"] == 4 and told["seconds"] <= 86400
    (line,) = [b for b in told["budget"] if b.startswith("budget: ")]
    assert "of 24 h: has room for 10 seed blocks instead of 3" in line
    _, out, _ = study(capsys, "--plan", *TWO, "--budget", "1d", "--seeds", "2", "--json")
    assert json.loads(out)["seeds"] == 2  # no more than asked for


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["--budget", "0.001s"], "the smallest study, 8 configurations × 2 seeds × 1 rate"),
        (["--plan", "--budget", "0.001s"], "give more time, or fewer --techniques or --epochs"),
        (["--budget", "soon"], "a time such as 2h, 30m"),
        (["--plan", "--metric", "speed"], "metric"),
        (["--plan", "--seeds", "1"], "two different seed blocks"),
    ],
)
def test_what_cannot_be_is_refused_in_one_line(
    arguments: list[str], text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, err = study(capsys, *arguments)
    assert code == 2 and out == "" and err.count("\n") == 1 and text in err
    assert not Path("runs").exists()


def test_the_study_run_is_the_one_that_fits(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """At a second a run, five factors in a budget of 40 s are 8 configurations on two seed blocks at one rate."""
    from equipoise.study import probing

    real = probing.measured

    def slow(*given: Any) -> Any:
        from dataclasses import replace

        return replace(real(*given), seconds=1.0 / 2, scoring=0.0)  # two steps an epoch

    monkeypatch.setattr(probing, "measured", slow)
    five = ["--techniques", "Dropout(0.3),WeightDecay,L2,MixUp,LabelSmoothing", "--budget", "40s", "--out", "s"]
    code, out, _ = study(capsys, *five)
    assert code == 0 and "gives up 8 of 16 configurations" in out
    saved = json.loads(Path("s/study.json").read_text(encoding="utf-8"))
    assert saved["design"]["configurations"] == 8 and saved["seeds"] == 2 and saved["runs"] == 16
    assert saved["trade"] == [] and saved["rates"]["ladder"] == [1.0]
