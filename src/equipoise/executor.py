"""Running a program: one run by plain autograd, or a stack of runs by vmap. Both run the same pure step."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from . import tree
from .compiling import Compiled
from .gradients import by_autograd, by_transform
from .step import Const, Now, Program, State


class Stack:
    """Runs of one program, stacked on a leading run axis. ``state`` and ``const`` leaves have that axis first."""

    kind = "stacked"
    differentiate = staticmethod(by_transform)

    def __init__(self, program: Program) -> None:
        self.program = program
        self._graph: Compiled | None = None
        self._rows = 0  # batch size the graph is for
        dims = Now(x=0, y=0, w=0, keys=0, host=0, rate=0, rows=0, t=None, epoch=None, steps=None, row0=None)  # type: ignore[arg-type]
        self._step = torch.vmap(self._one, in_dims=(0, 0, dims), randomness="error")
        self._predict = torch.vmap(self._one_prediction, in_dims=(0, 0, None))

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

    def compile(self, state: State, const: Const, now: Now) -> None:
        """Compile the step for batches of this shape; kept with the program, for every cohort of this size."""
        key = (self.kind, len(now.y), now.y.shape[1], self.program.gates_open)
        if key not in self.program.compiled:
            self.program.compiled[key] = Compiled(self._step, (state, const, now))
        self._rows, self._graph = now.y.shape[1], self.program.compiled[key]

    def step(self, state: State, const: Const, now: Now) -> tuple[State, Tensor]:
        """One step of every run; losses (R,)."""
        if self._graph is not None and now.y.shape[1] == self._rows:
            return self._graph(state, const, now)
        return self._step(state, const, now)

    def predict(self, state: State, const: Const, x: Any) -> Tensor:
        """Raw inputs shared by all runs to predictions (R, n, K)."""
        with torch.no_grad():
            return self._predict(state, const, x)

    def keep(self, mask: Tensor, new: State, old: State) -> State:
        """``new`` for the runs in ``mask`` (R,), ``old`` for the others."""
        return tree.choose(mask, new, old)


class Single:
    """One run, or several one after the other, by plain autograd: takes every model. Leaves are lists by run."""

    kind = "single"
    differentiate = staticmethod(by_autograd)

    def __init__(self, program: Program) -> None:
        self.program = program
        self._graph: Compiled | None = None
        self._rows = 0

    def compile(self, state: Any, const: Any, now: Now) -> None:
        """Compile the step of one run for batches of this shape."""
        one = of_run(now, 0)
        key = (self.kind, len(one.y), self.program.gates_open)
        if key not in self.program.compiled:
            step = self.program.step
            args = (state[0], const[0], one)
            self.program.compiled[key] = Compiled(lambda s, c, n: step(s, c, n, by_autograd), args)
        self._rows, self._graph = len(one.y), self.program.compiled[key]

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
        if self._graph is not None and len(now.y) == self._rows:
            return self._graph(state, const, now)
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
