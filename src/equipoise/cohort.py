"""Training a cohort: runs that share one program, from the first step to the finished weights; and `train_many`."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from . import memory, metrics
from .checkpoint import filled, named
from .errors import EquipoiseError
from .execution import apart_from_others, compile_step, executor_for
from .executor import Single, Stack
from .feed import Feed, Schedule, fit_preparation, select
from .plan import Member, Options
from .replay import failures
from .step import Const, Program, State
from .technique import At, Batch

if TYPE_CHECKING:
    from .data import Data

CHUNK = 1 << 20  # input elements of one prediction call, over all runs
CURVES = ("loss", "accuracy", "rmse")  # metrics followed every epoch on `stop`


@dataclass
class Progress:
    """One run so far: its scores per epoch, the state of the techniques that decide, and how it ended."""

    history: list[dict[str, float]] = field(default_factory=list)
    deciding: dict[str, dict[str, Any]] = field(default_factory=dict)
    factor: float = 1.0  # of the learning rate, from techniques that act on plateaus
    best: bool = False  # the kept weights are a best epoch's
    ended: str = ""  # why it stopped before its time
    failed: str = ""  # where it became non-finite

    def __post_init__(self) -> None:
        """TypeError where a stored value is of another kind."""
        if tuple(type(v) for v in vars(self).values()) != (list, dict, float, bool, str, str):
            raise TypeError("a run holds a value of a wrong kind")

    @property
    def over(self) -> bool:
        return bool(self.ended or self.failed)


class Cohort:
    """The training of members that share ``program``. Everything that changes is in `state`, `kept`, `runs`, and the
    position: `epoch`, and the `losses` of the steps since; what steps are fed is a function of the position alone."""

    def __init__(
        self,
        program: Program,
        members: Sequence[Member],
        data: Data,
        schedule: Schedule,
        executor: type[Stack] | type[Single] | None = None,
    ) -> None:
        self.program, self.members, self.data, self.schedule = program, list(members), data, schedule
        self.feed = Feed(program, self.members, data, schedule)
        self._refuse_single_rows()
        program.gates_open = program.gates_for(open_gates(members))
        consts = self._consts()
        states = [self.start(i, c) for i, c in enumerate(consts)]
        self.executor, self.why = (executor(program), "") if executor else executor_for(self, states, consts)
        self.state, self.const = self.executor.join(states, consts)
        self.kept = self.state
        self.runs = [Progress() for _ in members]
        self.epoch, self.losses = 0, list[Tensor]()  # (steps, R), block by block
        self.snapshot = (0, self.state)  # (step in the epoch, state) to replay from
        self.pieces = memory.Pieces()
        self.compiled = False
        self.notes: list[str] = []  # what happened on the way, for the runs' records
        self._began = time.perf_counter()
        memory.fit(self)

    def _consts(self) -> list[Const]:
        """Knobs and fitted preparation of every run; runs with the same rows and the same options share the fit."""
        p, cache = self.program, {}
        out = []
        for m, rows in zip(self.members, self.feed.rows, strict=True):
            fitting = [t for t in m.techniques.values() if t.fits()]
            key = (rows.cpu().numpy().tobytes(), tuple(map(repr, fitting)))
            if key not in cache:
                cache[key] = fit_preparation(m.techniques, self.data, rows, p.dtype)
            out.append(Const(p.knobs(m.techniques), cache[key]))
        return out

    def compile(self, options: Options, cohorts: int = 1, part: int = 0) -> float:
        """Compile the step where that is wanted or repaid; see `execution.compile_step`."""
        return compile_step(self, options, cohorts, part)

    @property
    def total_steps(self) -> int:
        return self.schedule.epochs * len(self.feed.batches)

    def _refuse_single_rows(self) -> None:
        t = next((t for t in self.program.techniques if type(t).__name__ in ("BatchNorm", "GhostBatchNorm")), None)
        if t is not None and min(m for _, m in self.feed.batches) == 1:
            raise EquipoiseError(
                f"{t!r} with batches of one row has no variance to divide by: use a larger --batch-size or GroupNorm."
            )

    def start(self, i: int, const: Const) -> State:
        """The state of run ``i`` before step 0."""
        return self.program.start(self.members[i].seed, self.members[i].techniques, self.first_batch(i, const))

    def first_batch(self, i: int, const: Const) -> Batch:
        """The run's first batch in the data's order, prepared: what data-driven starts see."""
        rows, p = self.feed.rows[i][: self.schedule.batch_size], self.program
        batch = p.objective.batch(
            select(self.data.x, rows), self.data.y[rows], torch.ones(len(rows), device=p.device), p.dtype
        )
        return batch._replace(x=p.objective.prepare(batch.x, self.members[i].techniques, const.fitted))

    # --- an epoch -----------------------------------------------------------------------------------------------------
    def train_epoch(self, waiting: Callable[[], bool] = bool) -> bool:
        """All steps of one epoch that are left, then the scores and decisions that follow it; False where it paused
        between two steps because something is ``waiting``."""
        with apart_from_others(self):
            return self._train_epoch(waiting)

    def _train_epoch(self, waiting: Callable[[], bool]) -> bool:
        rate = torch.zeros(len(self.runs))
        native = self.compiled and self.program.device.type == "cpu"
        ready = (lambda block: self.executor.inputs(self.const, block)) if native else None
        for fed in self.feed.blocks(self.epoch, [r.factor for r in self.runs], self.step, ready):
            self.state, losses = memory.run(self, fed, waiting)
            self.losses.append(losses)
            rate = fed.block.rate[-1]
            paused = len(losses) < len(fed.block.t) - fed.skip
            if paused or (waiting() and self.step < len(self.feed.batches)):
                return False
        history = torch.cat(self.losses).double().cpu()  # the epoch's one look at the losses
        self.epoch, self.losses = self.epoch + 1, []
        scores = self.scores("stop")
        self._find_failures(history, scores)
        self._judge(history.mean(0).tolist(), rate.tolist(), scores)
        return True

    def _find_failures(self, losses: Tensor, scores: dict[str, Any]) -> None:
        """Runs whose losses (steps, R), weights or scores became non-finite, located by replay from the snapshot."""
        for i, why in failures(self, losses, scores).items():
            self.runs[i].failed = why
        self.snapshot = (0, self.state)

    def _judge(self, loss: list[float], rate: list[float], scores: dict[str, Any]) -> None:
        keep = []
        for i, run in enumerate(self.runs):
            best = False
            if not run.over:
                row = {"epoch": float(self.epoch), "loss": loss[i], "rate": rate[i]}
                row |= {f"stop_{k}": float(v[i]) for k, v in scores.items()}
                row.setdefault("stop_loss", row[f"stop_{metrics.primary(self.data.task)}"])
                run.history.append(row)
                best = self._decide(i, run)
                best |= bool(run.ended) and not run.best  # it ended without a best epoch: these are its weights
            keep.append(best)
        if any(keep):
            self.kept = self.executor.keep(torch.tensor(keep, device=self.program.device), self.state, self.kept)

    def _decide(self, i: int, run: Progress) -> bool:
        """Ask every deciding technique; True where this epoch's weights are the best so far."""
        best = False
        for key, t in self.members[i].techniques.items():
            if "epoch" in t.acts_in():
                run.deciding[key], verdict = t.epoch(run.history, run.deciding.get(key, {}))
                run.factor *= verdict.factor
                best |= verdict.best
                if verdict.stop:
                    run.ended = f"stopped after epoch {self.epoch}: {verdict.reason}"
        run.best |= best
        return best

    @property
    def step(self) -> int:
        """Steps done since the last epoch ended."""
        return sum(map(len, self.losses))

    @property
    def finished(self) -> bool:
        return self.epoch >= self.schedule.epochs or all(r.over for r in self.runs)

    @property
    def seconds(self) -> float:
        """Time since its start, with that before a resume."""
        return time.perf_counter() - self._began

    # --- checkpoints --------------------------------------------------------------------------------------------------
    def state_dict(self) -> dict[str, Any]:
        """Everything that changes: "tensors" by name, and facts that JSON can hold."""
        held: dict[str, Any] = {"state": self.state}
        if any(r.best or r.ended for r in self.runs):  # until then nothing was kept
            held["kept"] = self.kept
        if self.losses:
            held["losses"] = torch.cat(self.losses)
        facts = {"epoch": self.epoch, "runs": [asdict(r) for r in self.runs], "notes": self.notes}
        return {**facts, "pieces": self.pieces, "seconds": self.seconds, "tensors": named(held)}

    def load_state_dict(self, saved: dict[str, Any]) -> None:
        """Go on from `state_dict`. KeyError, ValueError or TypeError, and nothing is changed, where it does not fit."""
        t, runs = saved["tensors"], [Progress(**r) for r in saved["runs"]]
        state = filled({"state": self.state}, t)["state"]
        kept = filled({"kept": self.state}, t)["kept"] if any(r.best or r.ended for r in runs) else state
        losses = [t["['losses']"].to(self.program.device)] if "['losses']" in t else []
        epoch, notes, pieces = saved["epoch"], list(map(str, saved["notes"])), memory.Pieces(*map(int, saved["pieces"]))
        began = time.perf_counter() - float(saved["seconds"])
        step = sum(map(len, losses))
        position = type(epoch) is int and 0 <= epoch <= self.schedule.epochs and step < len(self.feed.batches)
        if len(runs) != len(self.runs) or not position or min(pieces) < 0:
            raise ValueError(f"{len(runs)} runs at epoch {epoch}, step {step} do not fit {len(self.runs)} runs")
        self.state, self.kept, self.runs, self.losses = state, kept, runs, losses
        self.snapshot, self.pieces = (step, state), pieces
        self.epoch, self.notes, self._began = epoch, notes, began

    # --- scores and results -------------------------------------------------------------------------------------------
    def scores(self, role: str) -> dict[str, Any]:
        """The followed metrics of every run on a role's clean rows in prediction mode, arrays (R,)."""
        rows = self.data.rows[role]
        prediction = self.predict(self.state, self.const, select(self.data.x, rows)).double().cpu().numpy()
        y = self.data.y[rows].cpu().numpy()
        names = [m for m in metrics.metrics_for(self.data.task, self.data.outputs) if m in CURVES]
        return {m: metrics.score(m, prediction, y) for m in names}

    def predict(self, state: Any, const: Any, x: Any) -> Tensor:
        """Predictions (R, n, K) in pieces that fit in memory."""
        first = x[0] if isinstance(x, tuple) else x
        size = max(1, CHUNK // max(len(self.members) * (first[0].numel() if len(first) else 1), 1))
        parts = [
            self.executor.predict(state, const, select(x, slice(a, a + size)))
            for a in range(0, max(len(first), 1), size)
        ]
        return torch.cat(parts, 1)

    def result(self, i: int) -> State:
        """The state of run ``i`` after its end: best or last weights, then the `finish` stage."""
        state = self._last(i)
        params, buffers = state["params"], state["buffers"]
        # those that carry weights of their own first: statistics are taken of the weights that are kept
        for t in sorted(self.members[i].techniques.values(), key=lambda t: ("update" not in t.acts_in(), t.turn)):
            if "finish" in t.acts_in():
                params, buffers = t.finish(params, buffers, self.at_end(i, t.key))
        return {"params": params, "buffers": buffers, "own": state["own"]}

    def _last(self, i: int) -> State:
        """Best or last state of run ``i``."""
        return self.executor.member(self.kept if self.runs[i].best or self.runs[i].ended else self.state, i)

    def at_end(self, i: int, key: str) -> At:
        """What a technique is told at the end of run ``i``."""
        const, own = self.executor.member(self.const, i), self._last(i)["own"]
        return At(
            self.program.net, fitted=const.fitted.get(key, {}), state=own.get(key, {}), forward=self._passes(i, const)
        )

    def _passes(self, i: int, const: Const) -> Callable[..., Iterator[tuple[dict[str, Tensor], int]]]:
        """(params, buffers) → (buffers after one training-mode pass without noise, rows), for each batch of rows."""
        p = self.program

        def passes(params: Any, buffers: Any) -> Iterator[tuple[dict[str, Tensor], int]]:
            for a, n in self.feed.batches:
                x = select(self.data.x, self.feed.rows[i][a : a + n])
                with torch.no_grad():
                    yield p.objective.refresh(params, buffers, x, p.bind(const.knobs), const.fitted), n

        return passes


def open_gates(members: Sequence[Member]) -> frozenset[str]:
    """Keys of techniques with a gate w that is 1 in every member: no mixing with the plain path is needed."""
    keys = members[0].techniques
    return frozenset(
        k for k in keys if all(k in m.techniques and m.techniques[k].knobs().get("w") == 1.0 for m in members)
    )
