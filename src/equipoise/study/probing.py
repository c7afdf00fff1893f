"""One training step measured before a study: its time alone and in a stack, and the memory it takes.

What a step keeps for its backward pass is counted, not guessed (``memory.saved``). Against measured peaks the formula
of ``Footprint.step`` is good to a factor of 1.5 (``tests/study/test_probing.py``).
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from .. import memory, tree
from ..cohort import Cohort
from ..execution import apart_from_others
from ..executor import Single
from ..feed import Fed, Schedule, select
from ..plan import STACK, Member, Options, group
from ..programs import make_program
from ..recipe import Recipe
from ..step import first_step

if TYPE_CHECKING:
    from ..data import Data

STEPS, ENOUGH = 5, 0.1  # at least so many are timed, and for so many seconds; the fastest counts: other work adds time
PATIENCE = 5.0  # seconds that timing one stack may take
STACKED_COPIES = 2.0  # vmap lays the inputs of convolutions out anew, so that a stack holds activations twice


@dataclass(frozen=True)
class Footprint:
    """Bytes of one run: parameters; buffers; optimizer state; activations that one step saves for its backward pass."""

    params: int
    buffers: int
    own: int
    saved: int

    @property
    def state(self) -> int:
        """What a run is between two steps, and after its end."""
        return self.params + self.buffers + self.own

    def step(self, runs: int) -> float:
        """Peak bytes of one step of ``runs`` runs in a stack, beside their states: the gradients, and then either the
        saved activations (backward pass), or new parameters, optimizer state and two temporaries (update)."""
        copies = STACKED_COPIES if runs > 1 else 1.0
        return runs * (self.params + max(copies * self.saved, 3 * self.params + self.own))

    @property
    def alone(self) -> float:
        """Peak bytes of a step of one run, its state included."""
        return self.state + self.step(1)

    def training(self, cohort: int, at_once: int) -> float:
        """Peak bytes of training a cohort, ``at_once`` runs at a time: states now, at the epoch's start, and kept; the
        step of those at once, and the new states of the others."""
        return (4 * cohort - at_once) * self.state + self.step(at_once)


@dataclass(frozen=True)
class Step:
    """A measured step. ``seconds``: per run of a step as the study would run it, in cohorts of ``cohort`` runs,
    ``stack`` of them at once, timed on ``timed`` of them; ``scoring``: seconds per run and epoch on `stop`;
    ``footprint``: memory of one run."""

    seconds: float
    scoring: float
    cohort: int
    stack: int
    timed: int
    footprint: Footprint

    @property
    def memory(self) -> float:
        """Peak bytes of training one cohort."""
        return self.footprint.training(self.cohort, self.stack)


def measured(model: Any, recipe: Recipe, data: Data, schedule: Schedule, options: Options, runs: int) -> Step:
    """Time and memory of a step of ``recipe``, from a few eager steps on copies: nothing is trained or kept.

    ``runs``: how many runs would be trained; as many as fit one stack are timed together, where that takes seconds.
    """
    data = data.to(options.resolved_device())
    one = _cohort(model, recipe, data, schedule, options, 1)
    footprint, seconds = _footprint(one), _stepping(one)
    size = min(STACK, runs)
    patient = seconds * size * (STEPS + 1) < PATIENCE
    some = _cohort(model, recipe, data, schedule, options, size if patient else min(size, 2)) if size > 1 else one
    if isinstance(some.executor, Single):
        return Step(seconds, _scoring(one), size, 1, 1, footprint)
    if not patient:
        return Step(seconds, _scoring(one), size, size, 1, footprint)
    at_once = some.pieces.runs or size  # where memory is short, a stack is trained in pieces
    return Step(_stepping(some) / size, _scoring(some) / size, size, at_once, size, footprint)


def alone(model: Any, recipe: Recipe, data: Data, schedule: Schedule, options: Options) -> tuple[float, Footprint]:
    """Seconds of an eager step of one run of ``recipe`` by itself, and its memory."""
    one = _cohort(model, recipe, data.to(options.resolved_device()), schedule, options, 1)
    return _stepping(one), _footprint(one)


def _cohort(model: Any, recipe: Recipe, data: Data, schedule: Schedule, options: Options, runs: int) -> Cohort:
    members = [Member(recipe, seed) for seed in range(runs)]
    [(techniques, _)] = group(members)
    program = make_program(model, techniques, members[0], data, options)
    return Cohort(program, members, data, schedule, Single if runs == 1 else None)


def _stepping(cohort: Cohort) -> float:
    """Seconds of one eager step of all runs."""
    fed = Fed(first_step(next(cohort.feed.blocks(0, [1.0] * len(cohort.members))).block))
    with apart_from_others(cohort):
        return _fastest(lambda: memory.run(cohort, fed), cohort.program.device)


def _scoring(cohort: Cohort) -> float:
    """Seconds of predicting `stop` once with all runs."""
    rows = cohort.data.rows["stop"]
    if not len(rows):
        return 0.0
    x = select(cohort.data.x, rows)
    with apart_from_others(cohort):
        return _fastest(lambda: cohort.predict(cohort.state, cohort.const, x), cohort.program.device)


def _footprint(cohort: Cohort) -> Footprint:
    """Bytes of the one run of ``cohort``, by one forward and backward pass."""
    state, const = (cohort.executor.member(held, 0) for held in (cohort.state, cohort.const))
    saved = memory.saved(cohort.program, state, const, next(cohort.feed.steps(0, [1.0])))
    sizes = {part: sum(v.nbytes for v in tree.flatten(state[part]).values()) for part in ("params", "buffers", "own")}
    return Footprint(**sizes, saved=saved)


def _fastest(work: Callable[[], Any], device: torch.device) -> float:
    """Seconds of the fastest of a few calls, of more where they are short; of the first only where it took seconds."""
    times: list[float] = []
    while len(times) <= STEPS or sum(times) < ENOUGH:
        began = time.perf_counter()
        work()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        times.append(time.perf_counter() - began)
        if sum(times) > PATIENCE:
            break
    return min(times[1:] or times)
