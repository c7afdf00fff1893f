"""`step`: the pure training step, for people who own their loop."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor

from .errors import EquipoiseError
from .feed import prepared_example
from .gradients import by_autograd
from .models import model_builder
from .plan import Member, group
from .recipe import resolve
from .reference import reference_recipe
from .step import Const, Now, Program, State
from .technique import Technique

Init = Callable[[int], "StepState"]
Step = Callable[["StepState", Any, Tensor], tuple["StepState", Tensor]]


class StepState(NamedTuple):
    """What a step takes and gives back: parameters, buffers, the techniques' own state; the seed; the step number."""

    state: State
    seed: int
    t: int

    @property
    def params(self) -> dict[str, Tensor]:
        return self.state["params"]


def step(
    model: Any, recipe: Any, example: tuple[Any, Tensor], *, steps: int = 1000, rows_per_epoch: int | None = None
) -> tuple[Init, Step]:
    """The pure step of a recipe: ``init(seed) -> state`` and ``step(state, x, y) -> (state, loss)``.

    example: (x, y), a batch of at least two rows; whole-number y are classes, floats are targets (B, T). The
    preparation is fitted on it. steps: the length schedules are made for. rows_per_epoch: rows that count as one epoch.
    The step writes nothing in place and reads nothing but its arguments; the same state gives the same result. Step t
    of seed s draws the noise that `train` draws at step t of seed s.
    """
    x, y = example
    task = "regress" if y.is_floating_point() else "classify"
    member = Member(resolve(recipe, task, default=reference_recipe(model)), 0)
    techniques = group([member])[0][0]
    program, fitted = _program(model, techniques, member, x, y, task)
    knobs = program.knobs(member.techniques)
    const = Const(knobs, fitted)
    zero, length = torch.zeros((), dtype=torch.int32), torch.tensor(float(steps), dtype=torch.float64)

    def init(seed: int) -> StepState:
        batch = program.objective.batch(x, y, torch.ones(len(y)), program.dtype)
        batch = batch._replace(x=program.objective.prepare(batch.x, member.techniques, fitted))
        return StepState(program.start(seed, member.techniques, batch), seed, 0)

    def advance(s: StepState, x: Any, y: Tensor) -> tuple[StepState, Tensor]:
        t = torch.tensor([s.t])
        keys, rate = program.keys([s.seed], t)[0, 0], program.rates(member.techniques, t, steps)[0]
        host = {k: v[0, 0] for k, v in program.host([s.seed], [member.techniques], t, len(y)).items()}
        epoch = torch.tensor(float(s.t * len(y) // (rows_per_epoch or steps * len(y))), dtype=torch.float64)
        now = Now(x, y, torch.ones(len(y)), keys, host, rate, torch.arange(len(y)), t[0].double(), epoch, length, zero)
        state, loss = program.step(s.state, const, now, by_autograd)
        return StepState(state, s.seed, s.t + 1), loss

    return init, advance


def _program(
    model: Any, techniques: list[Technique], member: Member, x: Any, y: Tensor, task: str
) -> tuple[Program, dict[str, dict[str, Tensor]]]:
    if len(y) < 2:
        raise EquipoiseError(f"example has {len(y)} rows: give a batch of at least two.")
    encode = next((t for t in techniques if t.slot == "encoding"), None)
    if encode is not None:
        raise EquipoiseError(f"{encode!r} needs the table's columns: encode the rows before you hand them to eq.step.")
    fitted: dict[str, dict[str, Tensor]] = {}
    no_data: Any = None
    for t in sorted(techniques, key=lambda t: t.turn):
        if t.fits():
            fitted[t.key] = {k: v.float() for k, v in t.fit(x, y, no_data).items()}
    seen = prepared_example(member.techniques, fitted, x, torch.float32)
    shape = tuple(seen[0].shape[1:]) if isinstance(seen, tuple) else tuple(seen.shape[1:])
    outputs = y.shape[1] if task == "regress" else _width(model, shape, seen)
    builder, _ = model_builder(model, shape, outputs)
    return Program(builder, techniques, seen, task, outputs), fitted


def _width(model: Any, shape: tuple[int, ...], x: Any) -> int:
    """How many classes the model tells apart: the width of its output."""
    if isinstance(model, str):
        raise EquipoiseError("a reference network must be told the number of classes: give eq.step a builder.")
    builder, _ = model_builder(model, shape, 0)
    with torch.no_grad(), torch.random.fork_rng(devices=[]):
        out = builder()(*x) if isinstance(x, tuple) else builder()(x)
    return out.shape[-1]
