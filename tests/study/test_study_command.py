"""`equipoise study` as a user meets it: stopped and resumed, grown, shared, and refused in one line."""

from __future__ import annotations

import json
import os
import shlex
import signal
from pathlib import Path
from typing import Any

import pytest

from equipoise.checkpoint import lock
from equipoise.cli import main
from equipoise.cli.setting import command_to_resume
from equipoise.study import Study, conduct
from equipoise.study.store import NAME, Store
from equipoise.study.work import FOLDER, KeptCohort

QUICK = [
    "study", "wine", "--model", "mlp(hidden=(4,))", "--techniques", "Constant(0)|He", "--epochs", "2", "--threads", "1",
    "--compile", "never", "--lr", "fixed", "--no-trade", "--out", "s",
]  # fmt: skip


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(conduct, "CONFIRM_SEEDS", 3)
    monkeypatch.setattr(Study, "report", lambda self, path: Path(path).write_text("a page is drawn elsewhere"))


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as e:
        main([*QUICK, *arguments])
    out = capsys.readouterr()
    return int(e.value.code or 0), out.out, out.err


def fails(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    before = {p: p.read_bytes() for p in Path().rglob("*") if p.is_file()}
    code, out, err = run(capsys, *arguments)
    assert code == 2 and out == "" and err.count("\n") == 1 and "Traceback" not in err, (code, out, err)
    assert {p: p.read_bytes() for p in Path().rglob("*") if p.is_file()} == before
    return err


def test_a_study_is_stopped_resumed_shown_and_grown(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    waiting, calls = KeptCohort.waiting, []

    def counted(self: KeptCohort) -> bool:
        calls.append(1)
        if len(calls) == 6:
            os.kill(os.getpid(), signal.SIGTERM)
        return waiting(self)

    with monkeypatch.context() as patch:
        patch.setattr(KeptCohort, "waiting", counted)
        patch.setattr("sys.argv", ["equipoise", *QUICK, "--seeds", "2", "--looks", "2,3"])
        code, _, err = run(capsys, "--seeds", "2", "--looks", "2,3")
    last = err.splitlines()[-1]
    assert code == 130 and "equipoise: stopped with 1 runs done; all of it is kept in s; go on with: equipoise" in last
    again = shlex.split(last.partition("go on with: equipoise ")[2])
    assert again[-1] == "--resume" and not Path("s/study.json").exists()

    begun = ["--seeds", "2", "--looks", "2,3"]
    assert "--resume" in (told := fails(capsys, *begun)) and "--overwrite" in told
    assert "seed blocks were" in fails(capsys, "--seeds", "3", "--looks", "3,4", "--resume")
    assert "not finished yet" in fails(capsys, *begun, "--more", "1")
    code, out, _ = run(capsys, *begun, "--resume", "--json")
    first = json.loads(out)
    assert code == 0 and first["runs"] == 4 and first["looks"]["taken"] == [2]
    assert json.loads(Path("s/study.json").read_text()) == first
    Path("s/study.json").unlink()
    code, out, _ = run(capsys, *begun, "--resume")
    assert code == 0 and "initialization[He()]" in out and json.loads(Path("s/study.json").read_text()) == first
    code, out, _ = run(capsys, *begun, "--more", "1")
    assert code == 0 and "look 2 of 2" in out
    assert "no later one would hold" in fails(capsys, *begun, "--more", "1")
    assert "at least one seed block" in fails(capsys, *begun, "--more", "0")


def test_a_study_in_use_is_not_replaced(capsys: pytest.CaptureFixture[str]) -> None:
    with Store(None):
        Path("s").mkdir()
    Path("s", NAME).touch()
    with lock.Lock(Path("s") / FOLDER / "worker-1" / lock.NAME):
        assert "s is in use by process" in fails(capsys, "--overwrite")


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["--looks", "soon"], "--looks soon: how many looks, or the seed blocks"),
        (["--looks", "4,6"], "the first look is at those it starts with"),
        (["--looks", "3,3"], "must grow"),
        (["--more", "1"], "holds no study to add seed blocks to"),
        (["--smallest", "-1"], "the smallest effect of interest is a positive number"),
        (["--seed", "4294967295"], "a study draws fresh seeds beyond it"),
    ],
)
def test_what_cannot_be_is_one_line(arguments: list[str], text: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert text in fails(capsys, *arguments)


def test_a_result_without_its_store_is_left_alone(capsys: pytest.CaptureFixture[str]) -> None:
    Path("s").mkdir()
    Path("s/study.json").write_text("{}")
    assert f"a result, but not its store {NAME}" in fails(capsys, "--resume")


def test_the_command_that_goes_on_adds_no_seed_blocks_again() -> None:
    given: list[Any] = ["study", "wine", "--more", "2", "--out", "s", "--quiet"]
    assert command_to_resume(Path("s"), given) == "equipoise study wine --out s --quiet --resume"
    assert command_to_resume(Path("s"), ["study", "wine", "--more=2"]) == "equipoise study wine --out s --resume"
