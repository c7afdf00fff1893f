"""Every technique's step as Inductor compiles it: four graphs that together hold all, against the eager steps."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from equipoise.cohort import Cohort
from equipoise.compiling import Compiled, can_compile
from equipoise.executor import Single, of_run
from equipoise.feed import Schedule
from equipoise.plan import Member, Options, group
from equipoise.programs import make_program
from equipoise.recipe import resolve
from equipoise.technique import Technique

from .contract_cases import case, entry
from .test_contract import IN_STEP, case_recipe

GRAPHS = 4


def one(kind: type[Technique]) -> tuple[Any, Any] | None:
    """The step of the technique's case and its arguments; None where such steps are never compiled."""
    build, data = case(kind)
    member = Member(resolve(case_recipe(kind), data.task).plus(entry(kind)), 3)
    [(techniques, _)] = group([member])
    program = make_program(build, techniques, member, data, Options())
    if program.net.recurrent or program.net.random_elsewhere:
        return None
    cohort = Cohort(program, [member], data, Schedule(1, 16), Single)
    now = next(cohort.feed.steps(0, [1.0]))
    step = lambda s, c, n: program.step(s, c, n, Single.differentiate)  # noqa: E731
    return step, (cohort.state[0], cohort.const[0], of_run(now, 0))


@pytest.mark.skipif(not can_compile(torch.device("cpu")), reason="no compiler is installed")
@pytest.mark.parametrize("part", range(GRAPHS))
def test_inductor_gives_what_the_eager_steps_give(part: int) -> None:
    found = {kind.__name__: one(kind) for kind in IN_STEP[part::GRAPHS]}
    cases = {name: case_ for name, case_ in found.items() if case_ is not None}
    assert len(cases) > len(found) * 0.8

    def together(args: dict[str, Any]) -> dict[str, Any]:
        return {name: step(*args[name]) for name, (step, _) in cases.items()}

    args = {name: args for name, (_, args) in cases.items()}
    compiled, plain = Compiled(together, (args,))(args), together(args)
    for name, (state, loss) in plain.items():
        other, other_loss = compiled[name]
        torch.testing.assert_close(other_loss, loss, rtol=1e-5, atol=1e-6, msg=lambda m, n=name: f"{n}: {m}")
        for k, v in state["params"].items():
            torch.testing.assert_close(
                other["params"][k], v, rtol=1e-4, atol=1e-5, msg=lambda m, n=name, k=k: f"{n}, {k}: {m}"
            )
