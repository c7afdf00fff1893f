"""Training a cohort: runs that share one program, from the first step to the finished weights; and `train_many`."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from . import metrics, rng, tree
from .errors import EquipoiseError
from .executor import Single, Stack, vmap_refuses
from .plan import Member, Options, Plan
from .step import Const, Now, Program, State
from .technique import At, Batch, EpochVerdict, Technique

if TYPE_CHECKING:
    from .data import Data

BLOCK = 64  # steps whose noise keys, host draws and rates are made at once
CHUNK = 1 << 20  # input elements of one prediction call, over all runs
SHUFFLES = ("each", "once", "never")


@dataclass(frozen=True)
class Schedule:
    """Length and order of training: epochs, rows per batch, and whether rows are shuffled each epoch, once or never."""

    epochs: int
    batch_size: int = 64
    shuffle: str = "each"

    def __post_init__(self) -> None:
        if not (isinstance(self.epochs, int) and self.epochs >= 1):
            raise EquipoiseError(f"epochs={self.epochs!r}: at least one whole epoch.")
        if not (isinstance(self.batch_size, int) and self.batch_size >= 1):
            raise EquipoiseError(f"batch_size={self.batch_size!r}: at least one row a step.")
        if self.shuffle not in SHUFFLES:
            raise EquipoiseError(f"shuffle={self.shuffle!r}: one of {', '.join(SHUFFLES)}.")

    def batches(self, n: int) -> list[tuple[int, int]]:
        """(first row, row count) of each batch of an epoch of ``n`` rows; a last batch of one joins its neighbour."""
        starts = list(range(0, n, self.batch_size))
        if len(starts) > 1 and n - starts[-1] == 1 and self.batch_size > 1:
            starts.pop()
        return [(a, (starts[i + 1] if i + 1 < len(starts) else n) - a) for i, a in enumerate(starts)]


@dataclass
class Progress:
    """One run so far: its scores per epoch, the state of the techniques that decide, and how it ended."""

    history: list[dict[str, float]] = field(default_factory=list)
    deciding: dict[str, dict[str, Any]] = field(default_factory=dict)
    factor: float = 1.0  # of the learning rate, from techniques that act on plateaus
    best: bool = False  # the kept weights are a best epoch's
    ended: str = ""  # why it stopped before its time
    failed: str = ""  # where it became non-finite


class Cohort:
    """The training of members that share ``program``. Everything that changes is in `state`, `kept`, `runs` and `epoch`."""

    def __init__(
        self,
        program: Program,
        members: Sequence[Member],
        data: Data,
        schedule: Schedule,
        executor: Stack | Single | None = None,
    ) -> None:
        self.program, self.members, self.data, self.schedule = program, list(members), data, schedule
        self.rows = torch.stack([m.rows if m.rows is not None else data.rows["fit"] for m in members])
        self.batches = schedule.batches(self.rows.shape[1])
        self.total = schedule.epochs * len(self.batches)
        self._refuse_single_rows()
        self.consts = [
            Const(program.knobs(m.techniques), fitted(program, m.techniques, data, r))
            for m, r in zip(members, self.rows, strict=True)
        ]
        program.gates_open = open_gates(members)
        first = [self._prepared(i) for i in range(len(members))]
        states = [program.start(m.seed, m.techniques, b) for m, b in zip(members, first, strict=True)]
        self.weights = (
            torch.ones(len(data.y), device=program.device) if data.weights is None else data.weights.to(program.device)
        )
        self.why = ""
        self.executor = executor or self._choose(states)
        self.state, self.const = self.executor.join(states, self.consts)
        self.kept = self.state
        self.runs = [Progress() for _ in members]
        self.epoch = 0

    def _choose(self, states: list[State]) -> Stack | Single:
        if len(self.members) > 1:
            k = min(2, len(states))
            now = self._now(next(self._blocks(0))[0], 0)
            part = Now(*(v if v is now.t or v is now.row0 else tree.pytree.tree_map(lambda t: t[:k], v) for v in now))
            self.why = vmap_refuses(self.program, states[:k], self.consts[:k], part)
            if not self.why:
                return Stack(self.program)
        return Single(self.program)

    def _refuse_single_rows(self) -> None:
        batch_norm = next(
            (t for t in self.program.techniques if type(t).__name__ in ("BatchNorm", "GhostBatchNorm")), None
        )
        if batch_norm is not None and min(m for _, m in self.batches) == 1:
            raise EquipoiseError(
                f"{batch_norm!r} with batches of one row has no variance to divide by: use a larger --batch-size or GroupNorm."
            )

    def _prepared(self, i: int) -> Batch:
        rows = self.rows[i][: self.schedule.batch_size]
        p, c, m = self.program, self.consts[i], self.members[i]
        x = select(self.data.x, rows)
        batch = p.objective.batch(x, self.data.y[rows], torch.ones(len(rows), device=p.device), p.dtype)
        return batch._replace(x=p.objective.prepare(batch.x, m.techniques, c.fitted))

    # --- an epoch -----------------------------------------------------------------------------------------------------
    def order(self, epoch: int) -> Tensor:
        """Row numbers (R, n) in the order of this epoch; runs of one seed see one order."""
        turn = {"each": epoch, "once": 0, "never": -1}[self.schedule.shuffle]
        if turn < 0:
            return self.rows
        n, seeds = self.rows.shape[1], sorted({m.seed for m in self.members})
        perms = {s: rng.permutation(s, "order", n, turn) for s in seeds}
        return torch.stack([r[perms[m.seed]] for r, m in zip(self.rows, self.members, strict=True)])

    def _blocks(self, epoch: int) -> Iterator[list[dict[str, Any]]]:
        """The steps of an epoch in blocks; each step a dict of its row numbers and inputs."""
        order, p = self.order(epoch), self.program
        seeds, techniques = [m.seed for m in self.members], [m.techniques for m in self.members]
        for a in range(0, len(self.batches), BLOCK):
            some = self.batches[a : a + BLOCK]
            steps = torch.arange(a, a + len(some)) + epoch * len(self.batches)
            keys = p.keys(seeds, steps)
            host = p.host(seeds, techniques, steps, max(n for _, n in some))
            rates = torch.stack(
                [
                    p.rates(m.techniques, steps, self.total, m.factor * r.factor)
                    for m, r in zip(self.members, self._progress(), strict=True)
                ],
                1,
            )
            rates, clock = rates.to(p.device), steps.double().to(p.device)
            yield [
                {"rows": order[:, b : b + n], "keys": keys[i], "rate": rates[i], "t": clock[i],
                 "host": {k: v[i] if v.dim() == 2 else v[i, :, :n] for k, v in host.items()}}
                for i, (b, n) in enumerate(some)
            ]  # fmt: skip

    def _progress(self) -> list[Progress]:
        return getattr(self, "runs", None) or [Progress() for _ in self.members]

    def _now(self, block: list[dict[str, Any]], i: int) -> Now:
        b = block[i] if isinstance(block, list) else block
        rows = b["rows"]
        row0 = torch.zeros((), dtype=torch.int32, device=self.program.device)
        return Now(
            select(self.data.x, rows),
            self.data.y[rows],
            self.weights[rows],
            b["keys"],
            b["host"],
            b["rate"],
            b["t"],
            row0,
        )

    def train_epoch(self) -> None:
        """All steps of one epoch, then the scores and decisions that follow it."""
        losses, rate = [], None
        for block in self._blocks(self.epoch):
            for b in block:
                self.state, loss = self.executor.step(self.state, self.const, self._now([b], 0))
                losses.append(loss)
            rate = block[-1]["rate"]
        history = torch.stack(losses).double()
        self.epoch += 1
        self._find_failures(history)
        self._judge(history.mean(0), rate)

    def _find_failures(self, losses: Tensor) -> None:
        """One look per epoch at the losses (steps, R): the first step at which a run became non-finite."""
        bad = ~losses.isfinite()
        if not bool(bad.any()):
            return
        for i, run in enumerate(self.runs):
            if bool(bad[:, i].any()) and not run.failed and not run.ended:
                step = int(bad[:, i].int().argmax()) + (self.epoch - 1) * len(self.batches)
                run.failed = (
                    f"the loss became {losses[step % len(self.batches), i].item()} at step {step} (epoch {self.epoch})"
                )

    def _judge(self, loss: Tensor, rate: Tensor | None) -> None:
        scores = self.scores("stop")
        keep = [False] * len(self.runs)
        for i, run in enumerate(self.runs):
            if run.ended or run.failed:
                continue
            row = {
                "epoch": float(self.epoch),
                "loss": float(loss[i]),
                "rate": float(rate[i]) if rate is not None else 0.0,
            }
            row |= {f"stop_{k}": float(v[i]) for k, v in scores.items()}
            row.setdefault("stop_loss", row[f"stop_{metrics.primary(self.data.task)}"])
            run.history.append(row)
            keep[i] = self._decide(i, run)
        self._settle(keep)

    def _decide(self, i: int, run: Progress) -> bool:
        """Ask every deciding technique; True where this epoch's weights are to be kept."""
        keep = False
        for key, t in self.members[i].techniques.items():
            if "epoch" in t.stages():
                run.deciding[key], verdict = t.epoch(run.history, run.deciding.get(key, {}))
                keep |= self._obey(run, verdict)
        return keep

    def _obey(self, run: Progress, verdict: EpochVerdict) -> bool:
        run.factor *= verdict.factor
        run.best |= verdict.best
        if verdict.stop:
            run.ended = f"stopped after epoch {self.epoch}: {verdict.reason}"
        return verdict.best

    def _settle(self, keep: list[bool]) -> None:
        """Remember the weights of runs at their best epoch, and of runs without one that ended now."""
        ended_now = [
            bool(r.ended or r.failed) and r.history[-1:] and r.history[-1]["epoch"] == self.epoch and not r.best
            for r in self.runs
        ]
        take = [k or bool(e) for k, e in zip(keep, ended_now, strict=True)]
        if any(take):
            self.kept = self.executor.keep(torch.tensor(take, device=self.program.device), self.state, self.kept)

    @property
    def finished(self) -> bool:
        return self.epoch >= self.schedule.epochs or all(r.ended or r.failed for r in self.runs)

    # --- scores and results -------------------------------------------------------------------------------------------
    def scores(self, role: str, names: Sequence[str] | None = None) -> dict[str, Any]:
        """Metrics of every run on a role's clean rows in prediction mode, arrays (R,)."""
        rows = self.data.rows[role]
        prediction = self.predict(self.state, self.const, select(self.data.x, rows)).double().cpu().numpy()
        y = self.data.y[rows].cpu().numpy()
        names = names or [
            m for m in metrics.metrics_for(self.data.task, self.data.outputs) if m in ("loss", "accuracy", "rmse")
        ]
        return {m: metrics.score(m, prediction, y) for m in names}

    def predict(self, state: Any, const: Any, x: Any) -> Tensor:
        """Predictions (R, n, K) in pieces that fit in memory."""
        first = x[0] if isinstance(x, tuple) else x
        size = max(1, CHUNK // max(len(self.members) * (first[0].numel() if len(first) else 1), 1))
        parts = [self.executor.predict(state, const, select(x, slice(a, a + size))) for a in range(0, len(first), size)]
        return torch.cat(parts, 1)

    def result(self, i: int) -> State:
        """The state of run ``i`` after its end: best or last weights, then the `finish` stage."""
        run = self.runs[i]
        state = self.executor.member(self.kept if run.best or run.ended else self.state, i)
        params, buffers = state["params"], state["buffers"]
        for t in self.members[i].techniques.values():
            if "finish" in t.stages():
                at = At(
                    self.program.net,
                    fitted=self.consts[i].fitted.get(t.key, {}),
                    state=state["own"].get(t.key, {}),
                    forward=self._passes(i),
                )
                params, buffers = t.finish(params, buffers, at)
        return {"params": params, "buffers": buffers, "own": state["own"]}

    def _passes(self, i: int) -> Callable[..., Iterator[tuple[dict[str, Tensor], int]]]:
        """(params, buffers) → (buffers after one training-mode pass without noise, rows) for each batch of the fit rows."""
        p, member, const = self.program, self.members[i], self.consts[i]

        def passes(params: Any, buffers: Any) -> Iterator[tuple[dict[str, Tensor], int]]:
            for a, n in self.batches:
                x = select(self.data.x, self.rows[i][a : a + n])
                with torch.no_grad():
                    yield p.objective.refresh(params, buffers, x, p.bind(p.knobs(member.techniques)), const.fitted), n

        return passes


def select(x: Any, rows: Any) -> Any:
    return tuple(v[rows] for v in x) if isinstance(x, tuple) else x[rows]


def fitted(
    program_or_none: Program | None,
    techniques: dict[str, Technique],
    data: Data,
    rows: Tensor,
    dtype: torch.dtype = torch.float32,
) -> dict[str, dict[str, Tensor]]:
    """Fit the preparation on ``rows`` in order: each entry sees what the one before it prepared."""
    dtype = program_or_none.dtype if program_or_none else dtype
    x, y = select(data.x, rows), data.y[rows]
    done: dict[str, dict[str, Tensor]] = {}
    chain = sorted((t for t in techniques.values() if "prepare" in t.stages()), key=lambda t: t.turn)
    for t in chain:
        learned = {k: v.to(dtype) if v.is_floating_point() else v for k, v in t.fit(x, y, data).items()}
        done[t.key] = learned
        if t is not chain[-1]:
            x = t.prepare(x, learned)
    return done


def open_gates(members: Sequence[Member]) -> frozenset[str]:
    """Keys of techniques with a gate w that is 1 in every member: no mixing with the plain path is needed."""
    keys = members[0].techniques
    return frozenset(k for k in keys if all(m.techniques[k].knobs().get("w") == 1.0 for m in members))


def clock() -> float:
    return time.perf_counter()


__all__ = ["Cohort", "Options", "Plan", "Progress", "Schedule", "select"]
