"""Resume: stopped or killed anywhere, training goes on to the same bits, for every technique by discovery."""

from __future__ import annotations

import errno
import hashlib
import importlib
import json
import os
import pickle
import shlex
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from equipoise import techniques as T
from equipoise.checkpoint import Folder, Stopped, filled, keeper, named
from equipoise.checkpoint.how import machine
from equipoise.checkpoint.series import Series, read_signed, write_signed
from equipoise.compiling import can_compile
from equipoise.data import Data
from equipoise.errors import EquipoiseError
from equipoise.plan import Options
from equipoise.recipe import Recipe
from equipoise.run import Run
from equipoise.technique import Technique
from equipoise.train import train
from equipoise.training import train_many

from .contract_cases import COMPANY, case, dataset, entry
from .killing import Job, Killer, differences
from .models_of_users import mlp

ALL: list[type[Technique]] = [T.find(n) for n in T.names()]
QUICK: dict[str, Any] = {"epochs": 3, "batch_size": 16}
ARMS = (  # two that are stacked, one of which ends early with its best weights, and one in a cohort of its own
    Recipe(T.Dropout(0.2), T.Momentum(0.1), T.Plateau(patience=0, threshold=0.9)),
    Recipe(T.Momentum(0.5), T.EarlyStopping(patience=1, delta=10.0), T.EMA()),
    Recipe(T.AdamW(0.01)),
)


def same(a: Run, b: Run) -> bool:
    """Weights, buffers, history and ending, bit for bit."""
    members = zip(getattr(a, "members", [a]), getattr(b, "members", [b]), strict=True)
    tensors = all(
        now.keys() == then.keys() and all(_bits(v) == _bits(then[k]) for k, v in now.items())
        for x, y in members
        for now, then in ((x.state[part], y.state[part]) for part in ("params", "buffers"))
    )
    return tensors and repr(a.history) == repr(b.history) and a.record.ended == b.record.ended


def _bits(v: torch.Tensor) -> bytes:
    return v.detach().contiguous().numpy().tobytes()


@pytest.fixture
def stop_at(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """``stop_at(n, signal)``: the process gets the signal in training step ``n``, once."""

    def stop(n: int, number: int = signal.SIGINT) -> None:
        waiting, calls = Folder.waiting, 0

        def counted(self: Folder) -> bool:
            nonlocal calls
            calls += 1
            if calls == n:
                os.kill(os.getpid(), number)
            return waiting(self)

        monkeypatch.setattr(Folder, "waiting", counted)

    return stop


# --- the same bits ----------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("kind", ALL, ids=lambda k: k.__name__)
def test_resumed_equals_uninterrupted(kind: type[Technique], tmp_path: Path, stop_at: Any) -> None:
    """Stopped in the middle of epoch 2 of 2: the state of the technique, its noise and its decisions all go on."""
    build, data = case(kind)
    recipe = Recipe(*COMPANY.get(kind.__name__, ()), entry(kind))
    how: dict[str, Any] = {"epochs": 2, "batch_size": 24, "seed": 3}
    whole = train(build, recipe, data, **how)
    steps = -(-len(data.rows["fit"]) // 24)
    stop_at(steps + 1)
    with pytest.raises(Stopped):
        train(build, recipe, data, **how, out=tmp_path)
    assert same(train(build, recipe, data, **how, out=tmp_path, resume=True), whole)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("step", [1, 3, 5, 7, 9, 10, 18])
def test_many_go_on_from_any_step(step: int, number: int, tmp_path: Path, stop_at: Any) -> None:
    """At ends of epochs and between them, in the first cohort and in the second."""
    whole = many()
    stop_at(step, number)
    with pytest.raises(Stopped, match=rf"stopped after epoch {(step - 1) % 9 // 3 + (step % 3 == 0)}.*resume=True"):
        many(out=tmp_path)
    again = many(out=tmp_path, resume=True)
    assert all(map(same, again, whole))
    assert [r.record.plan["executor"] for r in again] == ["stacked", "stacked", "single"]
    assert whole[1].record.ended and whole[0].history[-1]["rate"] != whole[0].history[0]["rate"]
    assert sorted(p.name for p in tmp_path.iterdir()) == ["run-0000", "run-0001", "run-0002"]


def many(**kwargs: Any) -> list[Run]:
    return train_many(mlp, ARMS, dataset("table"), **{**QUICK, "seeds": [1, 2, 3], **kwargs})


def one(recipe: Recipe | None = None, data: Data | None = None, model: Any = mlp, **kwargs: Any) -> Run:
    return train(model, recipe or ARMS[0], data or dataset("table"), **{**QUICK, "seed": 5, **kwargs})


def stopped(out: Path, stop_at: Any, step: int = 4) -> None:
    """A run in ``out`` that was stopped in that step."""
    stop_at(step)
    with pytest.raises(Stopped):
        one(out=out)


@pytest.fixture
def often(monkeypatch: pytest.MonkeyPatch) -> None:
    """A checkpoint after every epoch, however short."""
    monkeypatch.setattr(keeper, "EVERY", 0.0)
    monkeypatch.setattr(keeper, "SHARE", 0.0)


@pytest.fixture
def killer() -> Killer:
    return Killer(seed=7)


@pytest.mark.parametrize(
    "techniques", [("EMA",), ("Dropout", "BatchNorm", "EarlyStopping"), ("Ensemble",)], ids="+".join
)
def test_killed_runs_end_in_the_same_files(techniques: tuple[str, ...], tmp_path: Path, killer: Killer) -> None:
    """SIGKILL of a process of its own, again and again, at random moments."""
    job = Job(techniques)
    span = killer.finish(job, tmp_path / "whole", resume=False)
    kills = killer.kill(job, tmp_path / "killed", 4, span)
    killer.finish(job, tmp_path / "killed", resume=True)
    assert kills and differences(tmp_path / "whole", tmp_path / "killed") == []


def test_differing_files_are_found(tmp_path: Path) -> None:
    """What the kills are judged by: another seed's weights, and a file that is missing, are differences."""
    one(out=tmp_path / "a"), one(out=tmp_path / "b", seed=6)
    found = differences(tmp_path / "a", tmp_path / "b")
    assert found == ["history.csv", "state.safetensors", "weights.safetensors"]
    (tmp_path / "b" / "recipe.yaml").unlink()
    assert "recipe.yaml" in differences(tmp_path / "a", tmp_path / "b")


def test_the_kill_bench_finds_only_equal_results() -> None:
    bench = Path(__file__).parents[1] / "benchmarks" / "resilience" / "kills.py"
    command = [sys.executable, bench, "--kills", "20", "--seconds", "30"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "0 differ" in done.stdout


# --- the stored plan --------------------------------------------------------------------------------------------------
def test_the_stored_plan_is_followed(tmp_path: Path, stop_at: Any) -> None:
    double = Options(precision="float64", threads=1)
    whole = one(options=double)
    stop_at(4)
    with pytest.raises(Stopped):
        one(out=tmp_path, options=double)
    again = one(out=tmp_path, resume=True, options=Options(threads=2))
    assert same(again, whole) and again.record.plan["precision"] == "float64" and again.record.plan["threads"] == 1
    assert "resumed under the stored plan: threads 1, not 2." in again.notes
    assert again.state["params"]["0.weight"].dtype == torch.float64


@pytest.mark.slow
@pytest.mark.skipif(not can_compile(torch.device("cpu")), reason="no compiler is installed")
def test_a_compiled_run_goes_on_compiled(tmp_path: Path, stop_at: Any) -> None:
    """The plan decides, not the options of the second call."""
    compiled = Options(compile="always")
    small: dict[str, Any] = {"model": Wider, "recipe": Recipe(T.SGD(0.1))}
    whole = one(**small, options=compiled)
    stop_at(4)
    with pytest.raises(Stopped):
        one(**small, out=tmp_path, options=compiled)
    again = one(**small, out=tmp_path, resume=True, options=Options(compile="never"))
    assert again.record.plan["compiled"] and same(again, whole)


@pytest.mark.parametrize(
    ("key", "value", "why"),
    [
        ("torch", "2.0.1", "torch 2.0.1"),
        ("processor", "z80", "processor z80"),
        ("device", "cuda:9", "cuda:9"),
    ],
)
def test_what_cannot_be_followed_is_said(key: str, value: str, why: str, tmp_path: Path, stop_at: Any) -> None:
    """And stays said after a second stop; training goes on, here in fact to the same bits."""
    stopped(tmp_path, stop_at)
    started = read_signed(tmp_path / "checkpoint" / "started.json")
    started["how"][key] = value
    write_signed(tmp_path / "checkpoint" / "started.json", started)
    stop_at(2)
    with pytest.raises(Stopped):
        one(out=tmp_path, resume=True)
    started["how"][key] = {**machine(), "device": "cpu"}[key]
    write_signed(tmp_path / "checkpoint" / "started.json", started)
    run = one(out=tmp_path, resume=True)
    assert [n for n in run.notes if n.startswith("not bit-identical, because") and why in n]
    assert same(run, one())


def test_a_compiled_step_that_is_gone_is_said(tmp_path: Path, stop_at: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    stopped(tmp_path, stop_at)
    started = read_signed(tmp_path / "checkpoint" / "started.json")
    started["plans"][0]["compiled"] = True
    write_signed(tmp_path / "checkpoint" / "started.json", started)
    monkeypatch.setattr("equipoise.execution.can_compile", lambda device: False)
    notes = one(out=tmp_path, resume=True).notes
    assert [n for n in notes if n.startswith("not bit-identical, because the compiled step") and "no compiler" in n]


def test_a_finished_run_is_loaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = one(out=tmp_path)
    assert not (tmp_path / "checkpoint").exists()
    monkeypatch.setattr(importlib.import_module("equipoise.train"), "train_one", None)  # nothing is trained
    again = one(out=tmp_path, resume=True)
    assert same(again, first)


def test_finished_runs_that_shared_a_program_are_loaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run that lacks what others of its cohort have keeps it, switched off."""
    arms = [Recipe(T.BatchNorm(), T.SGD(0.1)), Recipe(T.Dropout(0.2), T.SGD(0.1)), Recipe(T.SGD(0.1))]
    how: dict[str, Any] = {**QUICK, "seeds": [1, 2, 3], "out": tmp_path}
    first = train_many(mlp, arms, dataset("table"), **how)
    assert {r.record.plan["executor"] for r in first} == {"stacked"}
    monkeypatch.setattr("equipoise.training.train_members", None)  # nothing is trained
    again = train_many(mlp, arms, dataset("table"), **how, resume=True)
    assert all(map(same, again, first))
    x = dataset("table").x
    assert all(abs(a.predict(x) - b.predict(x)).max() < 1e-6 for a, b in zip(again, first, strict=True))


def test_what_killed_writes_left_is_removed(tmp_path: Path, stop_at: Any) -> None:
    stopped(tmp_path, stop_at)
    for name in (".run.json.0a1b2c3d.tmp", ".tmpaB3dE9", "checkpoint/.cohort-0-000001.json.0a1b2c3d.tmp", "mine.tmp"):
        (tmp_path / name).write_text("half")
    one(out=tmp_path, resume=True)
    assert {p.name for p in tmp_path.iterdir() if "tmp" in p.name or p.is_dir()} == {"mine.tmp"}


def test_nothing_is_overwritten(tmp_path: Path, stop_at: Any) -> None:
    stopped(tmp_path / "stopped", stop_at)
    one(out=tmp_path / "finished")
    before = contents(tmp_path)
    for name in ("stopped", "finished"):
        with pytest.raises(EquipoiseError, match="holds a run already: resume=True"):
            one(out=tmp_path / name)
    assert contents(tmp_path) == before


# --- faults -----------------------------------------------------------------------------------------------------------
def contents(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


class Wider(torch.nn.Sequential):
    def __init__(self) -> None:
        super().__init__(torch.nn.Linear(6, 4), torch.nn.ReLU(), torch.nn.Linear(4, 3))


CHANGES: dict[str, tuple[dict[str, Any], str]] = {
    "recipe": (
        {"recipe": Recipe(T.Dropout(0.4), T.Momentum(0.1), T.Plateau(patience=0, threshold=0.9))},
        r"Dropout.*0\.2.*0\.4",
    ),
    "seed": ({"seed": 6}, "seed was 5, now it is 6"),
    "epochs": ({"epochs": 4}, "epochs was 3, now it is 4"),
    "batch size": ({"batch_size": 8}, "batch_size was 16, now it is 8"),
    "shuffle": ({"shuffle": "never"}, "shuffle was each"),
    "model": ({"model": Wider}, "model was a builder mlp, now it is a builder Wider"),
    "data": ({"data": Data(dataset("table").x + 1, dataset("table").y, name="table")}, "data changed"),  # type: ignore[operator]
    "split": ({"data": Data(dataset("table").x, dataset("table").y, seed=1, name="table")}, "other roles"),
}


@pytest.mark.parametrize("what", CHANGES)
def test_what_changed_is_named_and_nothing_is_lost(what: str, tmp_path: Path, stop_at: Any) -> None:
    changed, text = CHANGES[what]
    stopped(tmp_path, stop_at)
    before = contents(tmp_path)
    with pytest.raises(EquipoiseError, match=text) as e:
        one(out=tmp_path, resume=True, **changed)
    assert "\n" not in str(e.value) and contents(tmp_path) == before
    assert same(one(out=tmp_path, resume=True), one())
    if what != "model":  # of a finished run the builder's name is not kept: its weights must fit
        with pytest.raises(EquipoiseError, match=text):
            one(out=tmp_path, resume=True, **changed)


def test_another_network_of_the_same_builder_is_refused(tmp_path: Path, stop_at: Any, monkeypatch: Any) -> None:
    stopped(tmp_path, stop_at)

    def other() -> torch.nn.Module:
        return Wider()

    other.__qualname__ = "mlp"
    with pytest.raises(EquipoiseError, match="the network made by a builder mlp has other modules or shapes now"):
        one(model=other, out=tmp_path, resume=True)


def test_other_start_weights_of_a_module_are_refused(tmp_path: Path, stop_at: Any) -> None:
    model = mlp()
    stop_at(4)
    with pytest.raises(Stopped):
        one(model=model, out=tmp_path)
    with torch.no_grad():
        next(model.parameters()).add_(1)
    with pytest.raises(EquipoiseError, match="the model was a Sequential with weights"):
        one(model=model, out=tmp_path, resume=True)


DAMAGE: dict[str, Callable[[bytes], bytes]] = {
    "cut": lambda b: b[: len(b) // 2],
    "a flipped bit": lambda b: b[:-9] + bytes([b[-9] ^ 1]) + b[-8:],
    "empty": lambda b: b"",
    "zeros": lambda b: bytes(len(b)),
}


@pytest.mark.parametrize("how", DAMAGE)
@pytest.mark.parametrize("suffix", ["json", "safetensors"])
@pytest.mark.usefixtures("often")
def test_a_damaged_newest_checkpoint_falls_back(how: str, suffix: str, tmp_path: Path, stop_at: Any) -> None:
    stopped(tmp_path, stop_at, step=8)  # checkpoints: after epochs 1 and 2, and in epoch 3; two are kept
    held = sorted((tmp_path / "checkpoint").glob(f"cohort-0-*.{suffix}"))
    assert [p.stem for p in held] == ["cohort-0-000002", "cohort-0-000003"]
    held[-1].write_bytes(DAMAGE[how](held[-1].read_bytes()))
    run = one(out=tmp_path, resume=True)
    assert same(run, one())
    (note,) = [n for n in run.notes if n.startswith("checkpoint 3 is damaged")]
    assert "went on from what was kept before it" in note


@pytest.mark.usefixtures("often")
def test_a_changed_number_is_damage(tmp_path: Path, stop_at: Any) -> None:
    """Still JSON, still a checkpoint, but not what was written."""
    stopped(tmp_path, stop_at, step=8)
    newest = tmp_path / "checkpoint" / "cohort-0-000003.json"
    text = newest.read_text()
    assert '"factor": 0.1' in text
    newest.write_text(text.replace('"factor": 0.1', '"factor": 0.7'))
    run = one(out=tmp_path, resume=True)
    assert same(run, one()) and [n for n in run.notes if "checkpoint 3 is damaged (its checksum is wrong)" in n]


def test_where_all_checkpoints_are_damaged_it_starts_anew_and_says_so(tmp_path: Path, stop_at: Any) -> None:
    stopped(tmp_path, stop_at)
    for path in (tmp_path / "checkpoint").glob("cohort-0-*.json"):
        path.write_text("[]")
    run = one(out=tmp_path, resume=True)
    assert same(run, one()) and [n for n in run.notes if "checkpoint 1 is damaged" in n]


def test_a_damaged_start_is_one_line(tmp_path: Path, stop_at: Any) -> None:
    stopped(tmp_path, stop_at)
    (tmp_path / "checkpoint" / "started.json").write_text("{")
    with pytest.raises(EquipoiseError, match=r"started\.json is damaged"):
        one(out=tmp_path, resume=True)


def test_a_hostile_checkpoint_runs_nothing(tmp_path: Path, stop_at: Any) -> None:
    """A pickle in place of the tensors, with the checksums right: refused as damaged, not loaded."""
    stopped(tmp_path, stop_at)
    witness = tmp_path / "witness"
    newest = tmp_path / "checkpoint" / "cohort-0-000001.safetensors"

    class Hostile:
        def __reduce__(self) -> Any:
            return os.mkdir, (str(witness),)

    newest.write_bytes(pickle.dumps(Hostile()))
    body = read_signed(newest.with_suffix(".json"))
    write_signed(newest.with_suffix(".json"), {**body, "tensors": hashlib.sha256(newest.read_bytes()).hexdigest()})
    run = one(out=tmp_path, resume=True)
    assert not witness.exists() and same(run, one()) and [n for n in run.notes if "checkpoint 1 is damaged" in n]


@pytest.mark.usefixtures("often")
@pytest.mark.parametrize("at", ["start", "checkpoint", "result"])
def test_a_full_disk_is_one_line_and_costs_nothing(at: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The write that fails is the first, a checkpoint's, or one of the finished run's."""
    wanted = {"start": "started.json", "checkpoint": "cohort-0-000002.safetensors", "result": "history.csv"}[at]
    real = Path.write_bytes

    def full(self: Path, data: Any) -> int:
        if wanted in self.name:
            real(self, data[: len(data) // 2])
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return real(self, data)

    with monkeypatch.context() as m:
        m.setattr(Path, "write_bytes", full)
        with pytest.raises(EquipoiseError, match=r"cannot write to .*No space left.*is intact") as e:
            one(out=tmp_path)
    assert "\n" not in str(e.value) and not list(tmp_path.rglob("*.tmp")) and not (tmp_path / "run.json").exists()
    names = {p.name for p in tmp_path.rglob("cohort-0-*")}
    assert ("cohort-0-000001.json" in names) == (at == "checkpoint") and bool(names) == (at != "start")
    assert same(one(out=tmp_path, resume=True), one())


def test_a_folder_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(EquipoiseError, match="cannot write to"):
        one(out=tmp_path / "file" / "run")


def test_bad_input_leaves_the_folder_free(tmp_path: Path) -> None:
    with pytest.raises(EquipoiseError, match="names no site"):
        one(Recipe(T.Dropout(where="nowhere")), out=tmp_path)
    assert contents(tmp_path) == {} and one(out=tmp_path).history


def test_a_failed_run_leaves_no_checkpoint(tmp_path: Path) -> None:
    with pytest.raises(EquipoiseError, match="training failed"):
        one(Recipe(T.SGD(1e38)), out=tmp_path)
    assert contents(tmp_path) == {}


# --- when, and what it says -------------------------------------------------------------------------------------------
def test_checkpoints_are_written_every_few_seconds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """At 2 s an epoch of 3 steps: at the third's end, and at the last's. At 10 minutes an epoch: inside of it too."""
    written: list[tuple[int, int]] = []
    clock = 0.0
    real = Series.save
    monkeypatch.setattr(keeper.time, "monotonic", lambda: clock)

    def save(self: Series, state: dict[str, Any]) -> None:
        written.append((state["epoch"], len(state["tensors"].get("['losses']", ()))))
        real(self, state)

    monkeypatch.setattr(Series, "save", save)
    for seconds, epochs, expected in ((2 / 3, 4, [(3, 0), (4, 0)]), (200.0, 2, [(0, 2), (1, 0), (1, 2), (2, 0)])):
        written.clear()

        def waiting(self: Folder, seconds: float = seconds) -> bool:
            nonlocal clock
            clock += seconds
            return clock - self._written > keeper.LONG

        monkeypatch.setattr(Folder, "waiting", waiting)
        one(out=tmp_path / str(epochs), epochs=epochs)
        assert written == expected


def test_the_second_signal_stops_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = signal.getsignal(signal.SIGINT)

    def twice(self: Folder) -> bool:
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)
        return False

    monkeypatch.setattr(Folder, "waiting", twice)
    with pytest.raises(KeyboardInterrupt) as e:
        one(out=tmp_path)
    assert not isinstance(e.value, Stopped) and signal.getsignal(signal.SIGINT) is before


def test_the_command_line_says_how_to_go_on(
    tmp_path: Path, stop_at: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from equipoise.cli import main

    monkeypatch.chdir(tmp_path)
    arguments = ["train", "wine", "--epochs", "3", "--model", "mlp(hidden=(4,))"]
    expected = run_command(main, [*arguments, "--out", "whole", "--json"], capsys)[1]
    stop_at(3, signal.SIGTERM)
    monkeypatch.setattr(sys, "argv", ["equipoise", *arguments])
    code, _, err = run_command(main, arguments, capsys)
    assert code == 130 and "Traceback" not in err
    (line,) = [v for v in err.splitlines() if v.startswith("equipoise: stopped after epoch")]
    command = shlex.split(line.partition("go on with: ")[2])
    assert command == ["equipoise", *arguments, "--out", "runs/wine-1", "--resume"]
    code, out, _ = run_command(main, [*command[1:], "--json"], capsys)
    assert code == 0 and json.loads(out)["test"] == json.loads(expected)["test"]
    assert differences(tmp_path / "whole", tmp_path / "runs" / "wine-1") == []
    assert run_command(main, [*command[1:], "--json"], capsys)[1] == out  # a finished run is shown
    code, _, err = run_command(main, [*command[1:], "--with", "Dropout(0.3)"], capsys)
    assert code == 2 and "cannot be resumed: the recipe was" in err and len(err.splitlines()) == 1


def run_command(main: Any, arguments: list[str], capsys: Any) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as e:
        main(arguments)
    out, err = capsys.readouterr()
    return int(e.value.code or 0), out, err


# --- tensors ----------------------------------------------------------------------------------------------------------
def test_tensors_come_back_as_they_were(tmp_path: Path) -> None:
    """Bits, dtypes and the order of axes in memory, in nested and empty containers."""
    held = {
        "a": {"weight|x": torch.randn(3, 4).t(), "none": {}},
        "b": [
            torch.tensor(0.1, dtype=torch.float64),
            torch.arange(24, dtype=torch.int32).view(2, 3, 4).permute(2, 0, 1),
        ],
        "odd": torch.tensor([float("nan"), float("-inf"), -0.0, 1e-45]),
        "one": torch.zeros(1).expand(5),
        "empty": torch.empty(0, 3),
    }
    series = Series(tmp_path, "x")
    facts = {"numbers": [0.1, float("inf"), 1e-300, -0.0], "text": "σ"}
    series.save({**facts, "tensors": named(held)})
    found: list[dict[str, Any]] = []
    assert series.restore(found.append) == []
    assert repr({k: found[0][k] for k in facts}) == repr(facts)
    back = filled(held, found[0]["tensors"])
    for (name, new), old in zip(named(back).items(), named(held).values(), strict=True):
        assert _bits(new) == _bits(old) and new.dtype == old.dtype and new.data_ptr() % 64 == 0
        assert new.stride() == old.stride() or "one" in name, name  # an expanded tensor is written out
    assert back["a"]["none"] == {}
    with pytest.raises(ValueError, match="shape"):
        filled({**held, "odd": torch.zeros(3)}, found[0]["tensors"])
