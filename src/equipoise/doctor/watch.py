"""The short instrumented training: the run as it would be, its steps noted, its moments put on the bench."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn.utils import get_total_norm

from .. import metrics
from ..cohort import Cohort
from ..executor import Single, of_run
from ..feed import select
from ..gradients import by_autograd
from ..probe import Look, Moment, Sizes, Trace
from ..probes._along import along
from ..probes._told import Told, told
from ..step import Const, Now, Program, State
from .bench import ROWS, Bench, look_of
from .observe import untouched

EARLY = 3  # steps after which what starts at zero on purpose has moved
EVERY = 50  # steps between two looks
RATIOS = 25  # steps between two notes of the size of the update
EVALUATED = 256  # stop rows, and as many fit rows, whose loss is taken
EVALUATIONS = (5, 6, 7, 8)  # eighths of the course after which the loss on stop is evaluated
BATCHES = 16  # batches compared with each other
INPUTS = 8192  # fit rows whose scale is read
SHIFTED = 2048  # rows of a role compared with fit: chance alone then gives no distance of a tenth
ENOUGH = 10  # rows that can tell of each other
LENGTHS = [0.5 * 8 ** (i / 7) for i in range(8)]  # along the update, evenly spaced in their logarithm


class Watched(Single):
    """`Single`, noting the norm of every step's gradient and, at some steps, the size of the update of each weight."""

    kind = "single"

    def __init__(self, program: Program) -> None:
        super().__init__(program)
        self.norms: list[Tensor] = []
        self.ratios: dict[str, list[Tensor]] = {s.weights[0]: [] for s in program.net.sites if s.weights}
        self.ratio_steps: list[int] = []
        self._steps = 0

    def _alone(self, state: State, const: Const, now: Now) -> tuple[State, Tensor]:
        if self.program.net.random_elsewhere:
            with torch.random.fork_rng(devices=[]):  # as Single: such draws follow the run's own key of this step
                torch.manual_seed(int(now.keys.reshape(-1)[0]) & 0x7FFFFFFF)
                new, loss = self.program.step(state, const, now, self._noting)
        else:
            new, loss = self.program.step(state, const, now, self._noting)
        if self._steps % RATIOS == 0 or self._steps < 5:
            self.ratio_steps.append(self._steps)
            for name, seen in self.ratios.items():
                if name in state["params"]:
                    old = state["params"][name]
                    seen.append((new["params"][name] - old).norm() / old.norm())
        self._steps += 1
        return new, loss

    def _noting(self, f: Callable[..., Any]) -> Callable[..., Any]:
        plain = by_autograd(f)

        def value_and_grad(params: Any) -> Any:
            grads, rest = plain(params)
            if len(self.norms) == self._steps:  # a second gradient in one step (SAM) is not counted again
                self.norms.append(get_total_norm(list(grads.values())))
            return grads, rest

        return value_and_grad


class Watcher:
    """Trains ``cohort`` (one member, executor `Watched`) for ``steps`` steps and tells what it saw."""

    def __init__(self, cohort: Cohort, steps: int, seed: int) -> None:
        self.cohort, self.steps = cohort, steps
        self.bench = Bench(cohort, seed)
        self.constant, self.uniform = self.bench.constants(self.bench.state)
        self.losses: list[Tensor] = []
        self.moments: list[Moment] = []
        self.looks: list[Look] = []
        self.stop: list[Tensor] = []
        self.now: Now | None = None
        self.turn: tuple[Moment, State, Now] | None = None  # halfway, and what the last step there was given
        self.left: tuple[set[int], set[int]] | None = None  # the looks planned, of which the last is still to be taken
        self.failed = ""

    def trace(self, sizes: Sizes | None = None) -> Trace:
        """Train, where that is not done yet, and measure what needs no training."""
        bench, cohort = self.bench, self.cohort
        if not self.losses:
            self.train()
        if self.left is not None:
            self.finish(*self.left)
        executor = cohort.executor
        assert isinstance(executor, Watched) and self.turn is not None
        batches, hidden = self._batches()
        self.moments[0] = bench.weighed(self.moments[0])
        self.moments[-1] = bench.completed(self.moments[-1])
        turn, updated = self.turn[0], self._updated(*self.turn[1:])
        step = {k: updated[k] - turn.params[k] for k in turn.grads}
        line = along(turn.gradient, turn.params, step, LENGTHS)
        ratios = {k: [float(v) for v in seen] for k, seen in executor.ratios.items()}
        drops = bool(cohort.program.net.adopted) or any(t.random for t in cohort.program.techniques)
        fit = self._each(bench.rows[: len(self._stop_rows)])
        inputs = self._floats(bench.prepared(bench.drawn["fit"][:INPUTS]).x)
        counts = {k: len(v) for k, v in cohort.data.rows.items()}
        return Trace(
            tuple(self.moments), tuple(self.looks), self.constant, self.uniform, self._losses(),
            torch.stack(executor.norms).tolist(), ratios, executor.ratio_steps, turn, updated, line, inputs,
            self._roles(), batches, hidden, fit, self.stop, counts, self._told(), self._baseline(), bench.function(),
            sizes, tuple(cohort.members[0].recipe.active()), cohort.schedule.batch_size, drops, self.failed,
        )  # fmt: skip

    def _losses(self) -> list[float]:
        return torch.stack(self.losses).double().flatten().tolist()

    # --- training -----------------------------------------------------------------------------------------------------
    def train(self) -> None:
        """The steps, with a look every 50 of them. The last look is taken by `trace`: no training waits for it."""
        points = {0, min(EARLY, self.steps), self.steps // 2, self.steps}
        looks = {round(i * self.steps / 8) for i in EVALUATIONS}
        step, c = 0, self.cohort
        self._look(step, points, looks)
        while step < self.steps and not self.failed:
            for now in c.feed.steps(c.epoch, [1.0]):
                self.now = now
                c.state, loss = c.executor.step(c.state, c.const, now)
                self.losses.append(loss)
                step += 1
                if step in points or step in looks or step % EVERY == 0:
                    self._find_failure()
                if step == self.steps or self.failed:
                    break
                self._look(step, points, looks)
            c.epoch += 1
        self.left = points, looks

    def finish(self, points: set[int], looks: set[int]) -> None:
        """The last look: at the end, or where the loss broke."""
        self.left = None
        self._look(self.steps, points, looks)

    def _find_failure(self) -> None:
        bad = [i for i, v in enumerate(self._losses()) if not math.isfinite(v)]
        if bad:
            self.failed = f"the loss became non-finite at step {bad[0]}"

    def _look(self, step: int, points: set[int], evaluations: set[int]) -> None:
        if step in points:
            m = self.bench.moment(step)
            self.moments.append(m)
            self.looks.append(look_of(step, m.layers, m.grads, m.loss))
            if self.turn is None and self.now is not None and (2 * step >= self.steps - 1 or self.failed):
                self.turn = m, self.bench.state, self.now
        elif step % EVERY == 0:
            self.looks.append(self.bench.look(step))
        if step in evaluations:
            self.stop.append(self._each(self._stop_rows))

    # --- what it reads ------------------------------------------------------------------------------------------------
    @property
    def _stop_rows(self) -> Tensor:
        return self.bench.drawn["stop"][:EVALUATED]

    def _each(self, rows: Tensor) -> Tensor:
        """Per-example loss of ``rows`` in prediction mode."""
        c = self.cohort
        with untouched(c.program.net):
            prediction = c.predict(c.state, c.const, select(c.data.x, rows))[0]
        return self._losses_of(prediction.double().cpu(), rows)

    def _losses_of(self, prediction: Tensor, rows: Tensor) -> Tensor:
        data = self.cohort.data
        y = data.y[rows].cpu()
        if data.task == "classify":
            return torch.as_tensor(metrics.per_example("loss", prediction.numpy(), y.numpy()))
        return (prediction - y.double()).square().flatten(1).mean(1)

    def _baseline(self) -> float:
        """Loss on stop rows of the best constant on fit rows."""
        data, rows = self.cohort.data, self._stop_rows
        best = metrics.baseline_prediction(data.y[data.rows["fit"]], data.task, data.outputs)
        return float(self._losses_of(torch.as_tensor(best).expand(len(rows), -1), rows).mean())

    def _updated(self, state: State, now: Now) -> Any:
        """Parameters after one more update with the batch of the last step; the run does not take it."""
        with untouched(self.cohort.program.net):
            new, _ = Single(self.cohort.program)._alone(state, self.bench.const, of_run(now, 0))
        return new["params"]

    def _batches(self) -> tuple[Any, dict[str, list[Tensor]]]:
        """The first full batches of the first epoch, clean and prepared, and what the hidden layers make of them."""
        feed = self.cohort.feed
        order, full = feed.order(0)[0], [(a, n) for a, n in feed.batches if n == self.cohort.schedule.batch_size]
        seen, hidden = [], dict[str, list[Tensor]]()
        for a, n in full[:BATCHES]:
            batch = self.bench.prepared(order[a : a + n])
            seen.append((self._floats(batch.x), batch.y))
            for layer in self.bench.layers(self.bench.state, batch.x):
                hidden.setdefault(layer.name, []).append(layer.z)
        return tuple(seen), hidden

    def _roles(self) -> dict[str, Tensor]:
        """Inputs of every role, prepared; images and sequences as the means of their channels over an example."""
        found = {}
        for role, rows in self.bench.drawn.items():
            each = self._floats(self.bench.prepared(rows[:SHIFTED]).x) if len(rows) else ()
            flat = [v.flatten(2).mean(2) if v.dim() == 4 else v.mean(1) if v.dim() == 3 else v for v in each]
            if flat:
                found[role] = torch.cat(flat, 1)
        return found

    def _told(self) -> Told | None:
        """Inputs and targets of fit and stop as the network sees them, compared without it."""
        fit, stop = self.bench.rows, self.bench.drawn["stop"][:ROWS]
        return told(self._pair(fit), self._pair(stop)) if min(len(fit), len(stop)) >= ENOUGH else None

    def _pair(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """Inputs, side by side where there are several, and targets."""
        batch = self.bench.prepared(rows)
        x = torch.cat([v.flatten(1) for v in batch.x], 1) if isinstance(batch.x, tuple) else batch.x
        return x, batch.y

    def _floats(self, x: Any) -> tuple[Tensor, ...]:
        return tuple(v for v in (x if isinstance(x, tuple) else (x,)) if v.is_floating_point())
