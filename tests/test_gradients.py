"""A batch in parts: loss, gradients and buffers of the whole, with the noise of the whole, for every technique."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from equipoise import techniques as T
from equipoise.cohort import Cohort
from equipoise.data import Data
from equipoise.executor import Single, Stack, of_run
from equipoise.feed import Schedule
from equipoise.gradients import by_autograd, by_transform, in_parts
from equipoise.plan import Member, Options, group
from equipoise.programs import make_program
from equipoise.recipe import Recipe, resolve
from equipoise.technique import Technique

from .contract_cases import COMPANY, case, dataset, entry
from .models_of_users import OwnLayers, mlp

PARTS = [slice(0, 5), slice(5, 12), slice(12, 16)]  # unequal on purpose
MEET = {  # techniques with which rows meet in the loss: a part is a batch of its own
    "BatchNorm": T.BatchNorm(), "GhostBatchNorm": T.GhostBatchNorm(),
    "SparseActivations": T.SparseActivations(kind="kl"),
}  # fmt: skip
ALL: list[type[Technique]] = [T.find(n) for n in T.names() if n not in MEET]


class Once:
    """The gradients of one float64 step, taken at once or in parts."""

    def __init__(self, build: Callable[[], nn.Module], data: Data, *entries: Technique) -> None:
        members = [Member(resolve(Recipe(*entries), data.task), seed) for seed in (3, 4)]
        [(techniques, _)] = group(members)
        self.program = make_program(build, techniques, members[0], data, Options(precision="float64"))
        self.cohort = Cohort(self.program, members, data, Schedule(1, 16), Single)
        self.now = next(self.cohort.feed.steps(0, [1.0, 1.0]))

    def __call__(self, differentiate: Any) -> list[Tensor]:
        """Gradients by name, the loss and the new buffers of run 0: of every evaluation in the step."""
        found: list[Tensor] = []

        def spy(f: Any) -> Any:
            def value_and_grad(params: Any) -> Any:
                grads, (loss, buffers) = differentiate(f)(params)
                found.extend([*(grads[k] for k in sorted(grads)), loss, *(buffers[k] for k in sorted(buffers))])
                return grads, (loss, buffers)

            return value_and_grad

        state, const = self.cohort.state[0], self.cohort.const[0]
        self.program.step(state, const, of_run(self.now, 0), spy)
        return found


def close(a: list[Tensor], b: list[Tensor]) -> bool:
    assert len(a) == len(b) and len(a) > 2
    return all(torch.allclose(v, w, rtol=1e-10, atol=1e-12, equal_nan=True) for v, w in zip(a, b, strict=True))


@pytest.mark.parametrize("kind", ALL, ids=lambda k: k.__name__)
def test_parts_add_up_to_the_whole(kind: type[Technique]) -> None:
    build, data = case(kind)
    once = Once(build, data, *COMPANY.get(kind.__name__, ()), entry(kind))
    assert close(once(by_autograd), once(in_parts(by_autograd, PARTS)))


def test_parts_add_up_with_row_weights_and_penalties() -> None:
    data = dataset("table")
    weighted = Data(data.x, data.y, weights=torch.linspace(0.0, 3.0, data.n))
    once = Once(mlp, weighted, T.L2(0.1), T.MixUp(0.4), T.Dropout(0.5))
    assert close(once(by_autograd), once(in_parts(by_autograd, PARTS)))


def test_the_noise_of_another_row_would_be_seen() -> None:
    once = Once(mlp, dataset("table"), T.Dropout(0.5))

    def wrong(f: Any) -> Any:
        return in_parts(by_autograd, [slice(0, 8), slice(0, 8)])(f)

    assert not close(once(by_autograd), once(wrong))


@pytest.mark.parametrize("name", MEET)
def test_where_rows_meet_each_part_is_a_batch(name: str) -> None:
    build, data = case(T.find(name))
    once = Once(build, data, MEET[name])
    assert not close(once(by_autograd), once(in_parts(by_autograd, PARTS)))


def test_buffers_become_the_mean_over_rows() -> None:
    """Running means of a batch norm are linear in the batch's mean: in parts they are the whole batch's."""
    once = Once(OwnLayers, dataset("images"))
    held = sorted(once.cohort.state[0]["buffers"])
    whole, parts = (
        dict(zip(held, once(d)[-len(held) :], strict=True)) for d in (by_autograd, in_parts(by_autograd, PARTS))
    )
    torch.testing.assert_close(parts["bn.running_mean"], whole["bn.running_mean"], rtol=1e-12, atol=1e-14)
    assert parts["bn.num_batches_tracked"] == 1
    assert not torch.allclose(parts["bn.running_var"], whole["bn.running_var"])


def test_a_stack_in_parts_is_the_stack() -> None:
    once = Once(mlp, dataset("table"), T.Dropout(0.5), T.SGD(0.5))
    states: Any = once.cohort.state
    consts: Any = once.cohort.const
    state, const = Stack(once.program).join(states, consts)
    whole, parts = Stack(once.program), Stack(once.program)
    parts.differentiate = in_parts(by_transform, PARTS)  # type: ignore[method-assign]
    (a, loss), (b, loss2) = (e.step(state, const, once.now) for e in (whole, parts))
    torch.testing.assert_close(loss2, loss, rtol=1e-10, atol=1e-12)
    for k, v in a["params"].items():
        torch.testing.assert_close(b["params"][k], v, rtol=1e-10, atol=1e-12)
