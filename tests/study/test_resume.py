"""A study stopped anywhere, or shared by two processes, ends with the bits of one that ran through."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

import equipoise as eq
from equipoise.checkpoint import Stopped, keeper, lock
from equipoise.errors import EquipoiseError
from equipoise.plan import Options
from equipoise.study import Study, conduct, load_study, work
from equipoise.study.phases import Setting
from equipoise.study.store import NAME, Claim, Store
from equipoise.study.work import FOLDER, KeptCohort
from tests.killing import Killer

from .small import NETWORK, SIZES, Dies, data, dies_after, said, small


@pytest.fixture(scope="module")
def whole() -> Study:
    """Without a folder, uninterrupted."""
    return small()


@pytest.fixture
def trained(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    """How many runs each training call trains."""
    calls: list[int] = []
    train = Setting.train
    monkeypatch.setattr(Setting, "train", lambda self, m, *a: (calls.append(len(m)), train(self, m, *a))[1])
    yield calls


# --- the same bits ----------------------------------------------------------------------------------------------------
def test_in_memory_in_a_folder_and_from_the_store_alone(whole: Study, tmp_path: Path) -> None:
    kept = small(out=tmp_path / "a")
    alone = load_study(tmp_path / "a")
    assert said(kept) == said(whole) == said(alone) and kept.seconds == alone.seconds
    assert whole.confirmation is not None and whole.trades and whole.candidate != whole.baseline
    names = {"recipe.yaml", "recipe.candidate.yaml", "effects.csv", "report.html", "study.json", NAME}
    assert {p.name for p in (tmp_path / "a").iterdir()} == names
    before = {n: (tmp_path / "a" / n).read_bytes() for n in names}
    for name in names - {NAME}:
        (tmp_path / "a" / name).unlink()
    again = small(out=tmp_path / "a", resume=True)
    assert said(again) == said(whole)
    assert {n: (tmp_path / "a" / n).read_bytes() for n in names - {NAME}} == {n: before[n] for n in names - {NAME}}


@pytest.mark.parametrize("cohorts", [0, 3, 4, 6, 7])
def test_finished_cohorts_are_not_repeated(
    cohorts: int, whole: Study, trained: list[int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Gone in each of the cohorts: of two seed blocks, of the half-splits, of the confirmation."""
    with monkeypatch.context() as patch:
        dies_after(cohorts, patch)
        with pytest.raises(Dies):
            small(out=tmp_path)
    assert len(trained) == cohorts + 1
    with pytest.raises(EquipoiseError, match=r"not finished \(\d+ of \d+ runs planned so far\): resume it"):
        load_study(tmp_path)
    del trained[:]
    assert said(small(out=tmp_path, resume=True)) == said(whole)
    assert trained == SIZES[cohorts:] and not (tmp_path / FOLDER).exists()


def test_a_cohort_goes_on_from_its_checkpoint(whole: Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C in a step of the second cohort: the step is finished and kept, the claim handed back, nothing is lost."""
    waiting, calls, restored = KeptCohort.waiting, [], []

    def counted(self: KeptCohort) -> bool:
        calls.append(1)
        if len(calls) == 6:
            os.kill(os.getpid(), signal.SIGINT)
        return waiting(self)

    monkeypatch.setattr(KeptCohort, "waiting", counted)
    with pytest.raises(Stopped, match=rf"stopped with 3 runs done; all of it is kept in {tmp_path}"):
        small(out=tmp_path)
    assert [p.name for p in (tmp_path / FOLDER).iterdir()] == ["cohort-2"]
    with Store(tmp_path / NAME) as store:
        assert store.states() == {"done": 3, "waiting": 9}
    load = keeper.Series.restore
    monkeypatch.setattr(
        keeper.Series, "restore", lambda self, accept: (restored.append(self.numbers()), load(self, accept))[1]
    )
    assert said(small(out=tmp_path, resume=True)) == said(whole)
    assert restored[0] and not any(restored[1:])


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_stop_between_cohorts_is_told_like_one_inside(
    number: int, whole: Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While the design is judged, say: nothing is in training, and nothing is lost."""
    judge = conduct.judged

    def stopped(*given: Any) -> Any:
        os.kill(os.getpid(), number)
        return judge(*given)

    started = signal.getsignal(number)
    if number == signal.SIGINT:  # a process in the background ignores it from the start
        signal.signal(number, signal.default_int_handler)
    before = signal.getsignal(number)
    try:
        with monkeypatch.context() as patch:
            patch.setattr(conduct, "judged", stopped)
            with pytest.raises(Stopped, match="stopped with 12 runs done"):
                small(out=tmp_path)
        assert signal.getsignal(number) is before
    finally:
        signal.signal(number, started)
    assert not (tmp_path / FOLDER).exists()
    assert said(small(out=tmp_path, resume=True)) == said(whole)


def test_the_stored_plan_is_followed(whole: Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        dies_after(1, patch)
        with pytest.raises(Dies):
            small(out=tmp_path)
    again = small(out=tmp_path, resume=True, options=Options(threads=2, precision="float64", progress=False))
    assert "resumed under the stored plan: precision float32, not float64." in again.notes
    assert said(again).replace(to_text(again.notes), to_text(whole.notes)) == said(whole)


def to_text(notes: list[str]) -> str:
    from equipoise.files import to_json

    return to_json([notes])[5:-5]


def test_groups_are_kept_with_the_study(tmp_path: Path) -> None:
    import numpy as np

    grouped = data(groups=np.arange(120) // 3)
    found = small(data=grouped, out=tmp_path)
    assert said(load_study(tmp_path)) == said(found)
    assert {r.unit for r in found.found.rows} == {"groups"}
    assert {t.n for t in found.trades} == {(len(grouped.rows["fit"]) - 2) // 2}  # halves of whole groups of three


class Harmful(eq.Technique):
    """Of the user's own, defined in no module of the package: the weights become zero after every step."""

    def project(self, params: Any, at: Any) -> Any:
        return {k: v * 0.0 for k, v in params.items()}


def test_techniques_of_ones_own_are_studied_and_resumed_but_not_found_by_a_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: dict[str, Any] = {"techniques": [Harmful()], "lr": "fixed", "trade_splits": 0}
    through = small(**asked)
    assert through.found.row("Harmful").effect != 0.0
    with monkeypatch.context() as patch:
        dies_after(1, patch)
        with pytest.raises(Dies):
            small(out=tmp_path, **asked)
    assert said(small(out=tmp_path, resume=True, **asked)) == said(through)
    assert said(small(out=tmp_path, resume=True, **asked)) == said(through)  # finished already
    with pytest.raises(EquipoiseError, match="unknown technique 'Harmful'"):
        load_study(tmp_path)


# --- two processes ----------------------------------------------------------------------------------------------------
def other(store: Store, folder: Path, name: str = "other") -> tuple[str, lock.Lock]:
    """Another worker, as far as the store and the folder tell."""
    worker = f"{name}-1-0"
    sign = lock.Lock(folder / FOLDER / f"worker-{worker}" / lock.NAME).acquire()
    store.enlist(worker, "process 1 on elsewhere", [])
    return worker, sign


def claimed_by_another(monkeypatch: pytest.MonkeyPatch, then: Callable[[str, lock.Lock], None]) -> None:
    """Before this process claims for the first time another one does."""
    claim, first = Store.claim, []

    def late(self: Store, phase: str, worker: str, dead: Any) -> Claim | None:
        if not first:
            assert self.path is not None
            name, sign = other(self, self.path.parent)
            first.append(claim(self, phase, name, dead))
            then(name, sign)
        return claim(self, phase, worker, dead)

    monkeypatch.setattr(Store, "claim", late)


def test_what_a_dead_worker_had_claimed_is_taken_over(
    whole: Study, trained: list[int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    claimed_by_another(monkeypatch, lambda name, sign: sign.release())
    assert said(small(out=tmp_path)) == said(whole) and sum(trained) == sum(SIZES)


def test_a_silent_worker_is_taken_for_dead(whole: Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It still holds its lock (it is suspended, or hangs), but gives no sign of life."""
    monkeypatch.setattr(work, "STALE", 1.0)
    claimed_by_another(monkeypatch, lambda name, sign: None)
    began = time.monotonic()
    assert said(small(out=tmp_path)) == said(whole) and time.monotonic() - began > 1.0


def test_a_worker_at_work_is_waited_for(whole: Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is recorded by the other one counts; it is recorded here while this process waits."""
    waited: list[float] = []

    def hand_back(name: str, sign: lock.Lock) -> None:
        def after_a_while(seconds: float) -> None:
            waited.append(seconds)
            if len(waited) == 2:
                with Store(tmp_path / NAME) as store:
                    store.release(name)

        monkeypatch.setattr(work, "_pause", after_a_while)

    claimed_by_another(monkeypatch, hand_back)
    assert said(small(out=tmp_path)) == said(whole) and len(waited) == 2


def test_a_failure_elsewhere_ends_the_waiting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(name: str, sign: lock.Lock) -> None:
        with Store(tmp_path / NAME) as store:
            store.fail(name, 1, "there was no memory")

    claimed_by_another(monkeypatch, fails)
    with pytest.raises(EquipoiseError, match="another process could not train some runs: there was no memory"):
        small(out=tmp_path)
    assert small(out=tmp_path, resume=True).trained.stop.shape == (2, 3, 2)


# --- what changed -----------------------------------------------------------------------------------------------------
CHANGES: dict[str, tuple[dict[str, Any], str]] = {
    "data": ({"data": data(shift=1.0)}, "the data changed"),
    "split": ({"data": data(seed=1)}, "other roles"),
    "recipe": ({"recipe": "AdamW(0.1),Dropout(0.2)"}, r"base recipe was .*0\.05.* now it is .*0\.1"),
    "model": ({"model": "mlp(hidden=(5,))"}, r"the model was mlp\(hidden=\(4,\)\), now it is mlp\(hidden=\(5,\)\)"),
    "factors": ({"techniques": "Constant(0)|Xavier"}, r"techniques were .*He.*, now they are .*Xavier"),
    "epochs": ({"epochs": 3}, "epochs was 2, now it is 3"),
    "batch size": ({"batch_size": 8}, "batch_size was 36, now it is 8"),
    "seeds": ({"seeds": 3}, "seed blocks were"),
    "seed": ({"seed": 1}, "seed was 0, now it is 1"),
    "rates": ({"lr": "fixed"}, "learning rates were"),
    "metric": ({"metric": "accuracy"}, "primary metric was loss, now it is accuracy"),
    "smallest": ({"smallest": 0.1}, "smallest effect of interest was None, now it is 0.1"),
    "splits": ({"trade_splits": 3}, "half-splits were 2, now they are 3"),
    "looks": ({"looks": (2, 4)}, "declared looks were at"),
}


@pytest.fixture(scope="module")
def begun(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("study")
    with pytest.MonkeyPatch.context() as patch:
        dies_after(2, patch)
        with pytest.raises(Dies):
            small(out=folder)
    return folder


@pytest.mark.parametrize("what", CHANGES)
def test_what_changed_is_named_and_nothing_is_lost(what: str, begun: Path) -> None:
    changed, text = CHANGES[what]
    with Store(begun / NAME) as store:
        before = [store._rows(f"SELECT * FROM {t} ORDER BY 1, 2") for t in ("facts", "cohorts", "runs", "arrays")]
    with pytest.raises(EquipoiseError, match=text) as e:
        small(out=begun, resume=True, **changed)
    assert "\n" not in str(e.value) and "untouched" in str(e.value)
    with Store(begun / NAME) as store:
        after = [store._rows(f"SELECT * FROM {t} ORDER BY 1, 2") for t in ("facts", "cohorts", "runs", "arrays")]
    assert after == before


def test_every_difference_is_told() -> None:
    from equipoise.study.terms import TELL, Judging, asked_for, terms_of

    plan = conduct.prepare(NETWORK, None, data(), "Dropout(0.3)", seeds=2)
    setting = Setting(NETWORK, data(), conduct.Schedule(1, 8), Options())
    asked = asked_for(setting, plan, terms_of(setting, plan, Judging("loss"), ""))
    assert set(asked) == set(TELL)


def test_a_folder_that_holds_a_study_is_not_overwritten(begun: Path) -> None:
    with pytest.raises(EquipoiseError, match=r"holds a study already: resume=True .*--resume, or --overwrite"):
        small(out=begun)


def test_a_study_that_cannot_begin_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(EquipoiseError, match="one row has no variance"):
        small(out=tmp_path / "s", techniques="BatchNorm", batch_size=1)
    assert not (tmp_path / "s").exists()
    for given in ({"resume": True}, {"more": 1}):
        with pytest.raises(EquipoiseError, match="resume and more need out="):
            small(**given)


# --- real kills -------------------------------------------------------------------------------------------------------
@dataclass(frozen=True)
class Job:
    """A study in a process of its own, with a checkpoint after every epoch."""

    epochs: int = 6

    def run(self, out: Path, resume: bool) -> None:
        small(out=out, resume=resume, epochs=self.epochs)


@pytest.mark.slow
def test_killed_studies_end_with_the_same_bits(tmp_path: Path) -> None:
    """SIGKILL again and again, at random moments."""
    killer, job = Killer(seed=3), Job()
    span = killer.finish(job, tmp_path / "whole", resume=False)
    kills = killer.kill(job, tmp_path / "killed", 8, span / 2)
    killer.finish(job, tmp_path / "killed", resume=True)
    assert kills and said(load_study(tmp_path / "killed")) == said(load_study(tmp_path / "whole"))


@pytest.mark.slow
@pytest.mark.parametrize("killed", [False, True])
def test_two_processes_on_one_study(killed: bool, tmp_path: Path) -> None:
    """Both take part; one may be killed in the middle; the result is that of one process."""
    killer, job = Killer(seed=4), Job(epochs=40)
    first = killer.start(job, tmp_path / "shared", resume=False)
    until(lambda: (tmp_path / "shared" / NAME).exists() and states(tmp_path / "shared"))
    second = killer.start(job, tmp_path / "shared", resume=True)
    until(lambda: len(workers(tmp_path / "shared")) == 2)
    if killed:
        first.kill()
    for process in (first, second):
        process.join(120)
    assert second.exitcode == 0 and first.exitcode == (-9 if killed else 0)
    if not killed:
        assert all(n > 0 for n in workers(tmp_path / "shared").values())
    killer.finish(job, tmp_path / "alone", resume=False)
    assert said(load_study(tmp_path / "shared")) == said(load_study(tmp_path / "alone"))


def states(folder: Path) -> dict[str, int]:
    with Store(folder / NAME) as store:
        return store.states() if store.begun else {}


def workers(folder: Path) -> dict[str, int]:
    """Cohorts by worker that has ever taken part."""
    with Store(folder / NAME) as store:
        if not store.begun:
            return {}
        return dict(
            store._rows(
                "SELECT workers.id, count(cohorts.id) FROM workers LEFT JOIN cohorts ON worker = workers.id GROUP BY 1"
            )
        )


def until(there: Callable[[], Any]) -> None:
    end = time.monotonic() + 120
    while not there():
        assert time.monotonic() < end, "it took too long"
        time.sleep(0.05)
