"""Running a program: one run by plain autograd, or a stack of runs by vmap. Both run the same pure step, eagerly or
compiled: as one loop over many steps, parts of the runs side by side."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from . import tree
from .compiling import Compiled, Steps
from .feed import Fed
from .gradients import by_autograd, by_transform
from .loop import Loop
from .recording import Recorded
from .step import MOVING, Const, Now, Program, State, at_step
from .workers import Workers

TOGETHER = 3  # parts whose inputs are made by the same call of plain operators, at most
CALL = 0.5  # seconds between two looks at what is waiting, about


class Executor:
    """What a single run and a stack have in common. Compiled, runs are trained in parts, side by side on threads."""

    kind = ""
    differentiate: Callable[..., Any]

    def __init__(self, program: Program) -> None:
        self.program = program
        self.part, self._workers = 1, 1  # runs that one compiled call takes; parts that are trained at the same time
        self._compiled: dict[int, Loop | Steps] = {}  # by batch size
        self._pace = 1  # steps between two looks at what is waiting

    def run(self, state: Any, const: Any, fed: Fed, waiting: Callable[[], bool] = bool) -> tuple[Any, Tensor]:
        """The steps of a block that are not done yet, or fewer where something is ``waiting``; losses (steps, R).
        Asked once between two steps; after the last one it is for the caller to ask."""
        block, losses = fed.block, []
        if block.y.shape[2] in self._compiled:
            given: Any = self.inputs(const, block) if fed.given is None else fed.given
            return self._run_compiled(state, block, given, fed.skip, waiting)
        for i in range(fed.skip, len(block.t)):
            state, loss = self.step(state, const, at_step(block, i))
            losses.append(loss)
            if i + 1 < len(block.t) and waiting():
                break
        return state, torch.stack(losses)

    def inputs(self, const: Any, block: Now) -> list[Any] | None:
        """What compiled steps take of a block beside the state, for each part of the runs; None for eager steps."""
        steps = self._compiled.get(block.y.shape[2])
        if steps is None:
            return None
        size = self._size(steps, block)
        consts = self._split(const, size)
        given, n = [], len(consts)
        several = -(-n // -(-n // TOGETHER))
        for a in range(0, n, several):
            parts = range(a, min(a + several, n))
            given += steps.inputs(consts[a : a + several], [self._of_part(block, j, size) for j in parts])
        return given

    def compile(self, state: Any, const: Any, block: Now, part: int, threads: int, last: Now | None = None) -> None:
        """Compile the step for batches of this size and ``part`` runs; kept with the program, for every cohort. The
        parts share ``threads``; a single one has them to itself. ``last``: batches of another size to compile for, by
        another process meanwhile."""
        self.part = part
        states, consts = self._split(state, part), self._split(const, part)
        self._workers, inside = min(threads, len(states)), 1 if len(states) > 1 else threads

        def make(block: Now, beside: bool) -> Loop | Steps:
            first = states[0], consts[0], self._of_part(block, 0, part)
            if self.program.device.type == "cpu":
                return Loop(self._part_step, *first, inside, short=part == 1, beside=beside)
            return Steps(Compiled(self._part_step, (*first[:2], at_step(first[2], 0))))

        for b in ([last] if last is not None else []) + [block]:
            rows = b.y.shape[2]
            key = (self.kind, part, rows, inside, self.program.gates_open)
            self._compiled[rows] = self._kept(key, lambda: make(b, b is last))  # noqa: B023
        for loop in reversed(list(self._compiled.values())):
            loop.ready()

    def record(self, state: Any, const: Any, block: Now) -> None:
        """Take the step of batches of this size as plain operators: no Python of ours runs in it."""
        rows, runs = block.y.shape[2], self._at_once(block.y.shape[1])
        first = self._split(state, runs)[0], self._split(const, runs)[0], at_step(self._of_part(block, 0, runs), 0)
        key = ("recorded", self.kind, runs, rows, self.program.gates_open)
        self._compiled[rows] = self._kept(key, lambda: Steps(Recorded(self._part_step, *first)))

    def _kept(self, key: Any, make: Callable[[], Any]) -> Any:
        made = self.program.compiled
        if key not in made:
            made[key] = make()
        return made[key]

    def _run_compiled(
        self, state: Any, block: Now, given: list[Any], skip: int, waiting: Callable[[], bool]
    ) -> tuple[Any, Tensor]:
        steps = self._compiled[block.y.shape[2]]
        states, losses, a = self._split(state, self._size(steps, block)), [], skip
        # threads would wait for Python's lock between plain operators
        with Workers(self._workers if isinstance(steps, Loop) else 1) as each:
            while a < len(block.t):
                b, began = min(a + self._pace, len(block.t)), time.perf_counter()
                done = each(lambda j: steps(states[j], given[j], a, b), range(len(states)))  # noqa: B023
                states = [s for s, _ in done]
                losses.append(self._merge_losses([loss for _, loss in done]))
                a, self._pace = b, max(1, int(CALL * (b - a) / (time.perf_counter() - began + 1e-9)))
                if b < len(block.t) and waiting():
                    break
        return self._merge(states), torch.cat(losses)

    def _size(self, steps: Loop | Steps, block: Now) -> int:
        """Runs that one call takes."""
        return self.part if isinstance(steps, Loop) else self._at_once(block.y.shape[1])

    def _of_part(self, block: Now, j: int, size: int) -> Now:
        """The block of part ``j`` of ``size`` runs."""
        fields = {f: getattr(block, f) for f in MOVING if f != "t"}
        return block._replace(**pytree.tree_map(lambda v: self._cut(v, j, size).contiguous(), fields))

    def _at_once(self, runs: int) -> int:
        """Runs that recorded operators take in one call."""
        return 1

    def step(self, state: Any, const: Any, now: Now) -> tuple[Any, Tensor]:
        """One step of every run; losses (R,)."""
        raise NotImplementedError

    def _part_step(self, state: State, const: Const, now: Now) -> tuple[State, Tensor]:
        """The step of one part, to be compiled."""
        raise NotImplementedError

    def _split(self, joined: Any, size: int) -> list[Any]:
        """In parts of ``size`` runs."""
        raise NotImplementedError

    def _merge(self, parts: list[Any]) -> Any:
        raise NotImplementedError

    def _merge_losses(self, parts: list[Tensor]) -> Tensor:
        raise NotImplementedError

    def _cut(self, v: Tensor, j: int, size: int) -> Tensor:
        """Part ``j`` of (steps, runs, …)."""
        raise NotImplementedError


class Stack(Executor):
    """Runs of one program, stacked on a leading run axis. ``state`` and ``const`` leaves have that axis first."""

    kind = "stacked"
    differentiate = staticmethod(by_transform)

    def __init__(self, program: Program) -> None:
        super().__init__(program)
        dims = Now(x=0, y=0, w=0, keys=0, host=0, rate=0, rows=0, t=None, epoch=None, steps=None, row0=None)  # type: ignore[arg-type]
        self._step = torch.vmap(self._one, in_dims=(0, 0, dims), randomness="error")
        self._predict = torch.vmap(self._one_prediction, in_dims=(0, 0, None))
        self._runs = 0

    def _one(self, state: State, const: Const, now: Now) -> tuple[State, Tensor]:
        return self.program.step(state, const, now, self.differentiate)

    def _one_prediction(self, state: State, const: Const, x: Any) -> Tensor:
        p = self.program
        return p.objective.predict(state["params"], state["buffers"], x, p.bind(const.knobs), const.fitted)

    def join(self, states: Sequence[State], consts: Sequence[Const]) -> tuple[State, Const]:
        return tree.stack(list(states)), Const(
            tree.stack([c.knobs for c in consts]), tree.stack([c.fitted for c in consts])
        )

    def member(self, stacked: Any, i: int) -> Any:
        return tree.member(stacked, i)

    def step(self, state: State, const: Const, now: Now) -> tuple[State, Tensor]:
        return self._step(state, const, now)

    def predict(self, state: State, const: Const, x: Any) -> Tensor:
        """Raw inputs shared by all runs to predictions (R, n, K)."""
        with torch.no_grad():
            return self._predict(state, const, x)

    def keep(self, mask: Tensor, new: State, old: State) -> State:
        """``new`` for the runs in ``mask`` (R,), ``old`` for the others."""
        return tree.choose(mask, new, old)

    # --- parts: slices of ``part`` runs, the last one filled up with its last run -------------------------------------
    def _part_step(self, state: State, const: Const, now: Now) -> tuple[State, Tensor]:
        return self._step(state, const, now)

    def _at_once(self, runs: int) -> int:
        return runs

    def _split(self, joined: Any, size: int) -> list[Any]:
        self._runs = len(pytree.tree_leaves(joined)[0])
        return [pytree.tree_map(lambda v: _filled(v, a, size, 0), joined) for a in range(0, self._runs, size)]  # noqa: B023

    def _merge(self, parts: list[Any]) -> Any:
        return pytree.tree_map(lambda *leaves: torch.cat(leaves)[: self._runs], *parts)

    def _merge_losses(self, parts: list[Tensor]) -> Tensor:
        return torch.cat(parts, 1)[:, : self._runs]

    def _cut(self, v: Tensor, j: int, size: int) -> Tensor:
        return _filled(v, j * size, size, 1)


def _filled(v: Tensor, a: int, n: int, axis: int) -> Tensor:
    """Entries a … a+n−1 of an axis; past its end its last entry."""
    some = v.narrow(axis, a, min(n, v.shape[axis] - a))
    missing = n - some.shape[axis]
    return torch.cat([some, *[some.narrow(axis, some.shape[axis] - 1, 1)] * missing], axis) if missing else some


class Single(Executor):
    """One run, or several one after the other, by plain autograd: takes every model. Leaves are lists by run."""

    kind = "single"
    differentiate = staticmethod(by_autograd)

    def join(self, states: Sequence[State], consts: Sequence[Const]) -> tuple[Any, Any]:
        return list(states), list(consts)

    def member(self, listed: Any, i: int) -> Any:
        return listed[i]

    def step(self, state: Any, const: Any, now: Now) -> tuple[Any, Tensor]:
        new, losses = [], []
        for i, (s, c) in enumerate(zip(state, const, strict=True)):
            s, loss = self._alone(s, c, of_run(now, i))
            new.append(s)
            losses.append(loss)
        return new, torch.stack(losses)

    def _alone(self, state: State, const: Const, now: Now) -> tuple[State, Tensor]:
        if not self.program.net.random_elsewhere:
            return self.program.step(state, const, now, self.differentiate)
        with torch.random.fork_rng(devices=[]):  # draws we could not adopt follow the run's own key of this step
            torch.manual_seed(int(now.keys.reshape(-1)[0]) & 0x7FFFFFFF)
            return self.program.step(state, const, now, self.differentiate)

    def predict(self, state: Any, const: Any, x: Any) -> Tensor:
        p = self.program
        with torch.no_grad():
            return torch.stack(
                [
                    p.objective.predict(s["params"], s["buffers"], x, p.bind(c.knobs), c.fitted)
                    for s, c in zip(state, const, strict=True)
                ]
            )

    def keep(self, mask: Tensor, new: Any, old: Any) -> Any:
        return [n if m else o for m, n, o in zip(mask.tolist(), new, old, strict=True)]

    # --- parts: single runs -------------------------------------------------------------------------------------------
    def _part_step(self, state: State, const: Const, now: Now) -> tuple[State, Tensor]:
        return self.program.step(state, const, now, self.differentiate)

    def _split(self, joined: Any, size: int) -> list[Any]:
        return joined

    def _merge(self, parts: list[Any]) -> Any:
        return parts

    def _merge_losses(self, parts: list[Tensor]) -> Tensor:
        return torch.stack(parts, 1)

    def _cut(self, v: Tensor, j: int, size: int) -> Tensor:
        return v[:, j]


def of_run(now: Now, i: int) -> Now:
    x = tuple(v[i] for v in now.x) if isinstance(now.x, tuple) else now.x[i]
    host = {k: v[i] for k, v in now.host.items()}
    return now._replace(x=x, y=now.y[i], w=now.w[i], keys=now.keys[i], host=host, rate=now.rate[i], rows=now.rows[i])


def vmap_refuses(program: Program, states: Sequence[State], consts: Sequence[Const], now: Now) -> str:
    """Why vmap cannot take this program (one trial step of two runs), or an empty string."""
    if program.net.recurrent:
        return "recurrent layers run faster one by one"
    if program.net.random_elsewhere:
        return "the model draws random numbers outside of its dropout modules"
    stack = Stack(program)
    try:
        state, const = stack.join(states, consts)
        stack.step(state, const, now)
        return ""
    except Exception as e:  # whatever vmap cannot do, one by one can
        return f"vmap cannot take the model ({(str(e).strip().splitlines() or [type(e).__name__])[0][:120]})"
