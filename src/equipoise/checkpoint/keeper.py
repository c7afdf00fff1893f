"""Keeping training on disk: when to write checkpoints, signals, and following the stored plan on resume."""

from __future__ import annotations

import json
import shutil
import signal
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any, Self

from ..errors import EquipoiseError
from ..plan import Options, Plan
from . import lock
from .asked import asked_of, refuse_change, structure
from .how import follow, how
from .series import Series, read_signed, write_signed, writing

if TYPE_CHECKING:
    from ..cohort import Cohort

EVERY = 5.0  # seconds between two checkpoints at ends of epochs, at least
SHARE = 20.0  # times as long as writing one takes: at most 5 % of the time
LONG = 300.0  # seconds after which one is written inside an epoch too
NAME = "checkpoint"


class Stopped(KeyboardInterrupt):
    """Training was asked to stop (Ctrl-C, SIGTERM) and did, with a checkpoint. ``where``: how far it came."""

    def __init__(self, where: str) -> None:
        super().__init__(f"{where}: the same call with resume=True goes on.")
        self.where = where


class Keeper:
    """Keeps nothing: training without a folder."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Nothing to undo."""

    def start(self, options: Options, settle: Callable[[Options], Options] = lambda o: o) -> Options:
        """Before any program is made: the options to follow. ``settle`` decides what was left open."""
        return settle(options)

    def plan(self) -> dict[str, Any]:
        """The stored plan of the next cohort, or an empty dict."""
        return {}

    def restore(self, cohort: Cohort, plan: Plan) -> None:
        """Store the plan before step 1, or bring the cohort to where its newest checkpoint is."""

    def waiting(self) -> bool:
        """Is there something to do between two steps?"""
        return False

    def after(self, cohort: Cohort) -> None:
        """After an epoch, or where it paused because of `waiting`."""

    def done(self, folders: Sequence[Path]) -> bool:
        """Do the folders hold all of what is asked for, finished?"""
        return False

    def finish(self, runs: Sequence[Any], folders: Sequence[Path], scores: Any = None) -> None:
        """Save the runs; from then on no checkpoint is needed."""

    def discard(self) -> None:
        """Remove the checkpoints."""


class Folder(Keeper):
    """Keeps training in ``out``. ``wanted``: what `asked` tells of it; ``resume``: go on with what is there."""

    def __init__(self, out: str | Path, wanted: dict[str, Any], resume: bool) -> None:
        self.out, self.wanted, self.resume = Path(out), wanted, resume
        self.folder = self.out / NAME
        self._started: dict[str, Any] = {"asked": wanted, "how": {}, "plans": []}
        self._next = 0
        self._begun_here = False  # not resumed
        self._notes: list[str] = []  # for every cohort
        self._asked_to_stop = False
        self._written, self._took = time.monotonic(), 0.0
        self._handlers: dict[int, Any] = {}
        self._locked = lock.Lock(self.folder / lock.NAME)

    # --- signals ------------------------------------------------------------------------------------------------------
    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                self._handlers[number] = signal.signal(number, self._stop)
        return self

    def __exit__(self, *error: object) -> None:
        if error[0] is not None and self._begun_here and not any(self.folder.glob("cohort-*.json")):
            self.discard()  # it failed before there was anything to go on with
        for number, handler in self._handlers.items():
            signal.signal(number, handler)
        self._handlers.clear()
        self._locked.release()

    def _stop(self, number: int, frame: FrameType | None) -> None:
        """The first signal lets the step finish; the second stops at once."""
        if self._asked_to_stop:
            raise KeyboardInterrupt
        self._asked_to_stop = True

    # --- start --------------------------------------------------------------------------------------------------------
    def done(self, folders: Sequence[Path]) -> bool:
        finished = [f / "run.json" for f in folders if (f / "run.json").is_file()]
        if not self.resume and (finished or self.folder.exists()):
            raise self._taken()
        if len(finished) < len(folders):
            return False
        for i, path in enumerate(finished):
            one = self.wanted | {k: [self.wanted[k][i]] for k in ("recipes", "seeds")}
            try:
                saved = asked_of(json.loads(path.read_text(encoding="utf-8")))
            except (OSError, ValueError, KeyError, TypeError) as e:
                raise EquipoiseError(f"{path} is damaged ({type(e).__name__}): train into another folder.") from None
            refuse_change(saved, one, path.parent)
        self.discard()
        return True

    def _taken(self) -> EquipoiseError:
        return EquipoiseError(
            f"{self.out} holds a run already: resume=True goes on with it or loads it; or choose another folder."
        )

    def start(self, options: Options, settle: Callable[[Options], Options] = lambda o: o) -> Options:
        self._lock()
        path = self.folder / "started.json"
        if path.exists():
            if not self.resume:  # another process began it since
                raise self._taken()
            try:
                self._started = read_signed(path)
                refuse_change(self._started["asked"], self.wanted, self.out)
                _check_plans(self._started["plans"])
                options, self._notes = follow(self._started["how"], options)
                return options
            except (OSError, ValueError, KeyError, TypeError) as e:
                if isinstance(e, EquipoiseError):
                    raise
                why = " ".join(str(e).split())[:120]
                raise EquipoiseError(
                    f"{path} is damaged ({why}): nothing tells how this was started; train into another folder."
                ) from None
        options = settle(options)
        self._started["how"] = how(options)
        self._begun_here = True
        self._write_started()
        return replace(options, threads=self._started["how"]["threads"])

    def _lock(self) -> None:
        """From here to the end the folder is this process's alone."""
        try:
            with writing(self.out):
                self._locked.acquire()
        except lock.Busy:
            raise lock.Busy(
                f"{self.out} is in use by {lock.holder(self._locked.path)}: wait for it, or choose another folder."
            ) from None

    def _write_started(self) -> None:
        with writing(self.out):
            self.folder.mkdir(parents=True, exist_ok=True)
            write_signed(self.folder / "started.json", self._started)

    # --- a cohort -----------------------------------------------------------------------------------------------------
    def plan(self) -> dict[str, Any]:
        self._next += 1
        plans = self._started["plans"]
        return plans[self._next - 1] if self._next <= len(plans) else {}

    def restore(self, cohort: Cohort, plan: Plan) -> None:
        plans, form = self._started["plans"], structure(cohort.program)
        self._series = Series(self.folder, f"cohort-{self._next - 1}")
        if self._next > len(plans):
            plans.append({**plan.to_dict(), "structure": form})
            self._write_started()
        stored = plans[self._next - 1]
        if stored["structure"] != form:
            raise EquipoiseError(
                f"{self.out} cannot be resumed: the network made by {self.wanted['model']} has other modules or shapes "
                "now. Give the one it was started with, or choose another folder; what it holds is untouched."
            )
        notes = list(self._notes)
        if stored["compiled"] and not cohort.compiled:
            notes.append(f"not bit-identical, because the compiled step cannot be used here: {cohort.why or 'eager'}.")
        notes += self._series.restore(cohort.load_state_dict)
        cohort.notes += [n for n in notes if n not in cohort.notes]
        self._written = time.monotonic()

    def waiting(self) -> bool:
        return self._asked_to_stop or time.monotonic() - self._written > LONG

    def after(self, cohort: Cohort) -> None:
        since = time.monotonic() - self._written
        due = since > max(EVERY, SHARE * self._took) or (cohort.step and since > LONG)
        if due or cohort.finished or self._asked_to_stop:
            began = time.monotonic()
            with writing(self.out):
                self._series.save(cohort.state_dict())
            self._written = time.monotonic()
            self._took = self._written - began
        if self._asked_to_stop:
            inside = f", step {cohort.step} of {len(cohort.feed.batches)} of the next" if cohort.step else ""
            raise Stopped(f"stopped after epoch {cohort.epoch}{inside}; all of it is kept in {self.out}")

    # --- the end ------------------------------------------------------------------------------------------------------
    def finish(self, runs: Sequence[Any], folders: Sequence[Path], scores: Any = None) -> None:
        with writing(self.out):
            for run, folder in zip(runs, folders, strict=True):
                run.save(folder, scores)
        self.discard()

    def discard(self) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)
        for pattern in (".*.tmp", ".tmp??????"):  # what a killed write leaves: ours, and that of safetensors
            for left in self.out.rglob(pattern):
                left.unlink(missing_ok=True)


def _check_plans(plans: Any) -> None:
    """TypeError where stored plans are none."""
    want = {"executor": str, "compiled": bool, "cohort": int, "structure": str, "why": str}
    if not isinstance(plans, list) or not all(isinstance(p, dict) for p in plans):
        raise TypeError("its plans are no list of plans")
    for p in plans:
        wrong = next((k for k, kind in want.items() if type(p.get(k)) is not kind), None)
        if wrong or p["cohort"] < 0 or not isinstance(p.get("gates"), list | None):
            raise TypeError(f"a plan holds {wrong or 'cohort or gates'} of a wrong kind")
