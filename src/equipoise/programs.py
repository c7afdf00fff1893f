"""Making a program: from a model, techniques and data to train with, or again from the files of a saved run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from .errors import EquipoiseError
from .feed import fit_preparation, prepared_example, select
from .models import model_builder
from .plan import Member, Options
from .recipe import Recipe
from .step import DTYPES, Const, Program, State, coding
from .technique import Technique

if TYPE_CHECKING:
    from .data import Data


class Workshop:
    """Programs made so far: calls that share a workshop (the phases of a study) share programs and compiled steps."""

    def __init__(self) -> None:
        self.made: list[tuple[Any, list[Technique], Program]] = []

    def known(self, model: Any) -> list[list[Technique]]:
        """The structures there are programs for."""
        return [techniques for of, techniques, _ in self.made if of is model or of == model]

    def program(
        self, model: Any, techniques: Sequence[Technique], member: Member, data: Data, options: Options
    ) -> Program:
        check_data(member.recipe, data)
        structure = [t.structure for t in techniques]
        for of, known, program in self.made:
            if (of is model or of == model) and [t.structure for t in known] == structure:
                return program
        program = make_program(model, techniques, member, data, options)
        self.made.append((model, list(techniques), program))
        return program


def make_program(model: Any, techniques: Sequence[Technique], member: Member, data: Data, options: Options) -> Program:
    """The program of a group of runs: the network with its sites, shown a few prepared rows of the data."""
    check_data(member.recipe, data)
    precision = "float32" if options.precision == "auto" else options.precision  # open: it is only looked at
    dtype = DTYPES[precision]
    shared = {t.key: member.techniques[t.key] for t in techniques}
    rows = member.rows if member.rows is not None else data.rows["fit"]
    learned = fit_preparation(shared, data, rows, dtype)
    x = prepared_example(shared, learned, select(data.x, rows[:8]), dtype)
    return _program(model, techniques, x, data.task, data.outputs, precision)


def _program(model: Any, techniques: Sequence[Technique], x: Any, task: str, outputs: int, precision: str) -> Program:
    shape = tuple(x[0].shape[1:]) if isinstance(x, tuple) else tuple(x.shape[1:])
    builder, fixed = model_builder(model, shape, coding(techniques).widths(outputs, task)[0])
    program = Program(builder, techniques, x, task, outputs, precision)
    if fixed and not any(t.slot == "initialization" for t in techniques):
        program.net.note("the model is a module, copied for every run: seeds do not vary its start values.")
    if program.net.unreached:
        some = ", ".join(program.net.unreached[:4])
        program.net.note(
            f"not called as modules, so techniques cannot act inside: {some}; penalties and optimizers reach them."
        )
    return program


def check_data(recipe: Recipe, data: Data) -> None:
    """Refuse what cannot be meant for this data: image techniques on tables, categories without Encode."""
    data.ready(recipe)
    for t in recipe.active():
        if data.kind not in t.kinds:
            raise EquipoiseError(
                f"{t!r} is for {' and '.join(t.kinds)} data; {data.name} is {data.kind} data: leave it out."
            )


def rebuild(
    model: Any, techniques: Sequence[Technique], signature: Any, tensors: Mapping[str, Any], precision: str
) -> tuple[Program, State, Const]:
    """The program and state of a saved run. Raises EquipoiseError where the model is needed or does not fit."""
    if not model:
        raise EquipoiseError(
            "this run was trained from a Python object: give its builder, eq.load(folder, model=build)."
        )
    dtype = DTYPES[precision]
    raw = [torch.zeros(2, *s, dtype=getattr(torch, d)) for s, d in zip(signature.shapes, signature.dtypes, strict=True)]
    shared = {t.key: t for t in techniques}
    learned = {k: dict(tensors.get("fitted", {}).get(k, {})) for k in shared}
    x = prepared_example(shared, learned, tuple(raw) if signature.many else raw[0], dtype)
    program = _program(model, techniques, x, signature.task, signature.outputs, precision)
    state = {"params": tensors["state"].get("params", {}), "buffers": tensors["state"].get("buffers", {}), "own": {}}
    _check_fit(program, state)
    program.gates_open = frozenset(t.key for t in techniques if t.knobs().get("w") == 1.0)
    return program, state, Const(program.knobs(shared), learned)


def _check_fit(program: Program, state: Mapping[str, Mapping[str, Tensor]]) -> None:
    module = program.net.module
    want = {n: (tuple(p.shape), p.dtype) for n, p in [*module.named_parameters(), *module.named_buffers()]}
    have = {n: (tuple(p.shape), p.dtype) for part in ("params", "buffers") for n, p in state[part].items()}
    if want != have:
        odd = next(iter(sorted(set(want.items()) ^ set(have.items()), key=str)))
        raise EquipoiseError(
            f"the saved weights do not fit the model ({odd[0]} of shape {odd[1][0]}): give the one it was trained with."
        )
