"""Working off the planned runs of a study: claim a cohort, train it, record it; several processes may do so at once."""

from __future__ import annotations

import os
import platform
import secrets
import shutil
import signal
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from ..checkpoint import Folder, Keeper, Stopped, asked, lock
from ..errors import EquipoiseError
from ..progress import Tracker, tracker
from .division import Division
from .phases import Phase, Setting
from .store import Claim, Store

BEAT, STALE = 5.0, 60.0  # seconds between two signs of life, and after which a silent process counts as dead
POLL = 0.5  # seconds between two looks at what others do
FOLDER = "checkpoint"
_pause = time.sleep


class Worker:
    """This process at work on a study. ``folder``: that of the study, where cohorts in training are kept and the
    process is known to be alive; None for a study in memory. ``began``: when its work began, by ``time.perf_counter``.
    """

    def __init__(
        self, store: Store, setting: Setting, folder: Path | None, notes: Sequence[str] = (), began: float | None = None
    ) -> None:
        self.store, self.setting, self.folder = store, setting, folder
        self.id = f"{platform.node()}-{os.getpid()}-{secrets.token_hex(4)}"
        self.division = Division(setting)
        self._notes = list(notes)
        self._began = time.perf_counter() if began is None else began
        self._alive = lock.Lock(self._sign(self.id)) if folder is not None else None
        self._end = threading.Event()
        self._heart: threading.Thread | None = None
        self._signals = nullcontext() if folder is None else _stoppable()

    @property
    def seconds(self) -> float:
        return time.perf_counter() - self._began

    def _sign(self, worker: str) -> Path:
        """The file that this process holds locked as long as it lives."""
        assert self.folder is not None
        return self.folder / FOLDER / f"worker-{worker}" / lock.NAME

    # --- taking part ---------------------------------------------------------------------------------------------
    def __enter__(self) -> Self:
        if self._alive is not None:
            self._alive.acquire()
            self._heart = threading.Thread(target=self._beat, daemon=True)
        self.store.enlist(self.id, f"process {os.getpid()} on {platform.node()}", self._notes)
        if self._heart is not None:
            self._heart.start()
        self._signals.__enter__()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._signals.__exit__(None, None, None)
        self._end.set()
        if self._heart is not None:
            self._heart.join()
        try:
            self.store.release(self.id)
            self.store.beat(self.id, self.seconds)
        except EquipoiseError:
            if error is None:
                raise
        finally:
            if self._alive is not None:
                shutil.rmtree(self._alive.path.parent, ignore_errors=True)
                self._alive.release()
                with suppress(OSError):  # another process is still there
                    self._alive.path.parents[1].rmdir()
        if self.folder is not None and isinstance(error, KeyboardInterrupt) and not isinstance(error, Stopped):
            raise self._stopped() from None

    def tidy(self) -> None:
        """Before a look is closed: what was kept of cohorts in training, and signs of workers that died, are gone."""
        if self.folder is not None:
            for left in (self.folder / FOLDER).iterdir():
                if not lock.held(left / lock.NAME) and not lock.held(left / FOLDER / lock.NAME):
                    shutil.rmtree(left, ignore_errors=True)

    def _beat(self) -> None:
        """In a thread, by connections of its own."""
        assert self.store.path is not None
        while not self._end.wait(BEAT):
            with suppress(EquipoiseError), Store(self.store.path) as mine:  # a full disk will show in what is recorded
                mine.beat(self.id, self.seconds)

    def dead(self, worker: str, beat: float) -> bool:
        """Has this worker ended without handing back what it had claimed?"""
        if time.time() - beat > STALE:
            return True
        path = self._sign(worker)
        return not path.exists() or (self._alive is not None and self._alive.real and not lock.held(path))

    # --- a phase -------------------------------------------------------------------------------------------------
    def plan(self, phase: Phase) -> None:
        """Plan what of the phase is not planned yet. Every process does so, even where nothing is left to plan: so each
        has the same programs."""
        self.division.divide(phase)
        there = self.store.planned(phase.name)
        blocks = (tuple(k for k in block if k not in there) for block in phase.blocks)
        if missing := tuple(b for b in blocks if b):
            self.store.plan(phase.name, self.division.divide(replace(phase, blocks=missing)))

    def work(self, phase: Phase, progress: Any = None) -> None:
        """Plan and train a phase to its end; what others train is waited for, what the dead left is taken over."""
        self.plan(phase)
        with tracker(self.setting.options.progress, progress, f"training: {phase.name}") as track:
            self._until_done(phase, track)

    def _until_done(self, phase: Phase, track: Tracker) -> None:
        epochs = self.setting.schedule.epochs
        track.total(sum(self.store.states(phase.name).values()) * epochs)
        shown = _Share(track)
        while True:
            shown.others(self.store.states(phase.name).get("done", 0) * epochs)
            claim = self.store.claim(phase.name, self.id, self.dead)
            if claim is not None:
                self._train(phase, claim, shown)
            elif not self._waited(phase):
                return

    def _waited(self, phase: Phase) -> bool:
        """Wait a little where another process is at work on the phase; False where it is done."""
        states = self.store.states(phase.name)
        if states.get("failed"):
            raise EquipoiseError(f"another process could not train some runs: {self.store.errors(phase.name)[0]}")
        if states.get("taken"):
            _pause(POLL)
        return bool(states.get("taken") or states.get("waiting"))

    def _train(self, phase: Phase, claim: Claim, track: Tracker) -> None:
        members = [phase.member(k) for k in claim.keys]
        keeper, mine = self._keeper(claim, members), False
        try:
            with keeper:
                runs = self.setting.train(members, track, keeper)
                mine = self.store.record(self.id, claim, [phase.kept(run) for run in runs])
        except Stopped:
            raise self._stopped() from None
        except EquipoiseError as e:
            self.store.fail(self.id, claim.cohort, str(e))
            raise
        if mine:
            keeper.discard()
        if isinstance(keeper, KeptCohort) and keeper.asked_to_stop:  # while the results were written
            raise self._stopped()

    def _keeper(self, claim: Claim, members: list[Any]) -> Keeper:
        if self.folder is None:
            return Decided(claim.plan)
        out = self.folder / FOLDER / f"cohort-{claim.cohort}"
        if lock.held(out / FOLDER / lock.NAME):  # its worker is silent, but alive: its files are its own
            return Decided(claim.plan)
        s = self.setting
        return KeptCohort(out, {**asked(s.model, members, s.data, s.schedule), "keys": claim.keys}, claim.plan)

    def _stopped(self) -> Stopped:
        states = self.store.states()
        return Stopped(f"stopped with {states.get('done', 0)} runs done; all of it is kept in {self.folder}")


class Decided(Keeper):
    """Keeps nothing, and follows the plan that was decided for the cohort."""

    def __init__(self, plan: dict[str, Any]) -> None:
        self._plan = plan

    def plan(self) -> dict[str, Any]:
        return self._plan


class KeptCohort(Folder):
    """Keeps one cohort of a study in a folder of its own, and follows the plan that was decided for it."""

    def __init__(self, out: Path, wanted: dict[str, Any], plan: dict[str, Any]) -> None:
        super().__init__(out, wanted, resume=True)
        self._decided = plan

    def plan(self) -> dict[str, Any]:
        stored = super().plan()
        return {**self._decided, **{k: v for k, v in stored.items() if k not in self._decided}}

    @property
    def asked_to_stop(self) -> bool:
        return self._asked_to_stop

    def discard(self) -> None:
        shutil.rmtree(self.out, ignore_errors=True)


class _Share(Tracker):
    """A part of a longer bar: its total is another's business, and others' work counts too."""

    def __init__(self, whole: Tracker) -> None:
        self._whole, self._counted = whole, 0

    def advance(self, n: int, epoch: int, epochs: int) -> None:
        self._counted += n
        self._whole.advance(n, epoch, epochs)

    def others(self, done: int) -> None:
        if done > self._counted:
            self.advance(done - self._counted, 0, 0)


@contextmanager
def _stoppable() -> Iterator[None]:
    """SIGTERM ends what is between two cohorts as Ctrl-C does; in training a cohort's keeper handles both."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(number: int, frame: Any) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
