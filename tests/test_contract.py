"""What every technique must keep, found by discovery: a new technique is covered the moment its file exists."""

from __future__ import annotations

import dataclasses
import math
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import equipoise as eq
from equipoise import techniques as T
from equipoise.cohort import Cohort
from equipoise.combined import CombinedRun
from equipoise.data import Data
from equipoise.errors import EquipoiseError
from equipoise.executor import Single, Stack
from equipoise.feed import Schedule
from equipoise.plan import Member, Options, group, on_host
from equipoise.programs import make_program
from equipoise.recipe import Recipe, resolve
from equipoise.technique import Technique, section

from .contract_cases import case, entry

ALL: list[type[Technique]] = [T.find(n) for n in T.names()]
IN_STEP = [k for k in ALL if not on_host(entry(k))]
every = pytest.mark.parametrize("kind", ALL, ids=lambda k: k.__name__)
stepping = pytest.mark.parametrize("kind", IN_STEP, ids=lambda k: k.__name__)


def train(recipe: Recipe, kind: type[Technique], images: Data, **kwargs: Any) -> Any:
    build, data = case(kind)
    options = Options(precision=kwargs.pop("precision", "float32"))
    return eq.train(build, recipe, data, **{"epochs": 2, "batch_size": 16, "seed": 3, "options": options, **kwargs})


def weights(run: Any) -> dict[str, torch.Tensor]:
    return {**run.state["params"], **run.state["buffers"]}


@every
def test_it_is_data(kind: type[Technique]) -> None:
    t = entry(kind)
    assert pickle.loads(pickle.dumps(t)) == t and hash(t) == hash(entry(kind))
    assert eval(repr(t), {kind.__name__: kind}) == t
    recipe = Recipe(t)
    assert Recipe.from_yaml(recipe.to_yaml()) == recipe
    assert eval(repr(recipe), {"Recipe": Recipe, kind.__name__: kind}) == recipe
    with pytest.raises(dataclasses.FrozenInstanceError):
        t.anything = 1  # type: ignore[attr-defined]


@every
def test_the_default_builds(kind: type[Technique]) -> None:
    required = [f.name for f in kind.fields() if f.default is dataclasses.MISSING]
    assert not required
    kind()


@every
def test_knobs_out_of_range_say_what_to_do(kind: type[Technique]) -> None:
    for f in kind.fields("knobs"):
        low, high = f.metadata["low"], f.metadata["high"]
        outside = [
            v
            for v in (low - 1 if math.isfinite(low) else None, high + 1 if math.isfinite(high) else None, math.nan)
            if v is not None
        ]
        for value in [*outside, "x"]:
            with pytest.raises(EquipoiseError, match=rf"{kind.__name__}\({f.name}=") as e:
                kind(**{f.name: value})
            assert "\n" not in str(e.value)
        assert low <= f.default <= high


@every
def test_the_docstring_tells_all(kind: type[Technique]) -> None:
    text = kind.__doc__ or ""
    for name in ("Shapes", "Trade", "Source"):
        assert section(kind, name), f"{kind.__name__}: no section {name}"
    for f in kind.fields():
        assert f"`{f.name}`" in text, f"{kind.__name__}: `{f.name}` is not explained"
    assert kind.stages(), "it acts in no stage"


@every
def test_it_has_a_test_file_of_its_own(kind: type[Technique]) -> None:
    name = kind.__module__.rsplit(".", 1)[1]
    assert (Path(__file__).parent / "techniques" / f"test_{name}.py").is_file()


@every
def test_off_is_declared_with_knobs_of_its_own(kind: type[Technique]) -> None:
    if kind.off is not None:
        assert set(kind.off) <= {f.name for f in kind.fields("knobs")}
        entry(kind).switched_off()


@pytest.mark.parametrize("kind", [k for k in ALL if k.off is not None], ids=lambda k: k.__name__)
def test_off_trains_as_if_it_were_not_there(kind: type[Technique], images: Data) -> None:
    base = resolve(case_recipe(kind), case(kind)[1].task)
    off = train(base.plus(entry(kind).switched_off()), kind, images, precision="float64")
    plain = train(base, kind, images, precision="float64")
    for k, v in plain.state["params"].items():
        torch.testing.assert_close(off.state["params"][k], v, rtol=0, atol=1e-10)


def case_recipe(kind: type[Technique]) -> Recipe:
    """What the technique needs beside it."""
    from .contract_cases import COMPANY

    return Recipe(*COMPANY.get(kind.__name__, ()))


@stepping
def test_one_of_many_equals_the_run_alone(kind: type[Technique], images: Data) -> None:
    build, data = case(kind)
    company = case_recipe(kind)
    recipes = [resolve(company, data.task).plus(entry(kind)), resolve(company, data.task).plus(entry(kind))]
    members = [Member(r, s) for r, s in zip(recipes, (3, 4), strict=True)]
    [(techniques, _)] = group(members)
    options = Options(precision="float64")
    program = make_program(build, techniques, members[0], data, options)
    cohort = Cohort(program, members, data, Schedule(2, 16))
    while not cohort.finished:
        cohort.train_epoch()
    alone = eq.train(build, recipes[1], data, epochs=2, batch_size=16, seed=4, options=options)
    alone = alone.members[-1] if isinstance(alone, CombinedRun) else alone  # the last snapshot is the end of the run
    for k, v in alone.state["params"].items():
        torch.testing.assert_close(cohort.result(1)["params"][k], v, rtol=0, atol=1e-9)


@stepping
@pytest.mark.parametrize("precision", ["float32", "float64", "bfloat16"])
def test_every_precision_trains(kind: type[Technique], precision: str, images: Data) -> None:
    run = train(case_recipe(kind).plus(entry(kind)), kind, images, precision=precision, epochs=1)
    dtype = torch.float64 if precision == "float64" else torch.float32
    assert all(v.dtype == dtype for v in run.state["params"].values())
    assert all(v.isfinite().all() for v in run.state["params"].values()) and np.isfinite(run.history[-1]["loss"])


@stepping
def test_odd_and_single_example_last_batches(kind: type[Technique], images: Data) -> None:
    _, data = case(kind)
    n = len(data.rows["fit"])
    for batch_size in (n - 1, n // 2, n // 3 + 1):  # a last batch of one, of none or one, and an odd one
        assert train(case_recipe(kind).plus(entry(kind)), kind, images, epochs=1, batch_size=batch_size).history


@stepping
def test_it_can_be_traced(kind: type[Technique], images: Data) -> None:
    """The whole step as one graph through torch.compile's aot_eager gives what the eager step gives."""
    build, data = case(kind)
    member = Member(resolve(case_recipe(kind), data.task).plus(entry(kind)), 3)
    [(techniques, _)] = group([member])
    program = make_program(build, techniques, member, data, Options())
    if program.net.recurrent or program.net.random_elsewhere:
        pytest.skip("recurrent cells are run eagerly")
    cohort = Cohort(program, [member], data, Schedule(1, 16), Single)
    from equipoise.compiling import traced

    now = next(cohort.feed.steps(0, [1.0]))
    from equipoise.executor import of_run

    args = (cohort.state[0], cohort.const[0], of_run(now, 0))
    plain, loss = program.step(*args, cohort.executor.differentiate)
    graph, loss2 = traced(program, args, backend="aot_eager")(*args)
    torch.testing.assert_close(loss2, loss, rtol=1e-5, atol=1e-6)
    for k, v in plain["params"].items():
        torch.testing.assert_close(graph["params"][k], v, rtol=1e-4, atol=1e-5)


def test_every_stage_has_a_technique() -> None:
    from equipoise.technique import STAGES

    assert set(STAGES) == {s for k in ALL for s in k.stages()}


@pytest.mark.parametrize("family", sorted({k.family() for k in ALL}))
def test_the_plain_model_exports(family: str, images: Data) -> None:
    """torch.export of the folded model, one technique per family; the preparation is its first module."""
    kind = next(k for k in IN_STEP if k.family() == family) if any(k.family() == family for k in IN_STEP) else None
    if kind is None:
        pytest.skip(f"no technique of {family} acts inside the step")
    run = train(case_recipe(kind).plus(entry(kind)), kind, images, epochs=1)
    from equipoise.export import exportable

    x, _ = case(kind)[1].select("test")
    module = exportable(run)
    assert isinstance(module, nn.Module)
    program = torch.export.export(module, (x[:4].float(),))
    np.testing.assert_allclose(program.module()(x[:4].float()).detach().numpy(), run.predict(x[:4]), atol=1e-5)


__all__ = ["Stack"]
