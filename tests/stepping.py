"""A plain PyTorch loop beside ours, step for step; and the rates of PyTorch's schedulers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from equipoise import techniques as T
from equipoise.cohort import Cohort
from equipoise.data import Data
from equipoise.executor import Single, Stack
from equipoise.feed import Schedule
from equipoise.plan import Member, Options, group
from equipoise.programs import make_program
from equipoise.recipe import Recipe, resolve
from equipoise.technique import Empty, Technique

EXECUTORS = (Single, Stack)


def network() -> nn.Module:
    return nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 8), nn.Tanh(), nn.Linear(8, 2))


def cohort_of(
    recipes: Sequence[Sequence[Technique]],
    data: Data,
    executor: Any = Single,
    *,
    build: Callable[[], nn.Module] = network,
    epochs: int = 20,
    batch: int = 24,
    precision: str = "float64",
) -> Cohort:
    """A cohort of unprepared runs, run i from seed i. Regression runs are trained on the plain squared error."""
    bare = [Empty("inputs"), *([Empty("targets")] if data.task == "regress" else [])]
    members = [Member(resolve(Recipe(*bare, *r), data.task), seed) for seed, r in enumerate(recipes)]
    [(techniques, _)] = group(members)
    program = make_program(build, techniques, members[0], data, Options(precision=precision, device="cpu"))
    return Cohort(program, members, data, Schedule(epochs, batch), executor)


def params_of(cohort: Cohort, i: int = 0) -> dict[str, Tensor]:
    return cohort.executor.member(cohort.state, i)["params"]


def own_of(cohort: Cohort, key: str, i: int = 0) -> Any:
    return cohort.executor.member(cohort.state, i)["own"][key]


def plain(cohort: Cohort, i: int = 0, build: Callable[[], nn.Module] = network) -> nn.Module:
    """The user's network with the run's start values."""
    net = build().double()
    net.load_state_dict({k: v.clone() for k, v in params_of(cohort, i).items()}, strict=False)
    return net


def steps(cohort: Cohort, epochs: int | None = None) -> Any:
    """Make every step of the run, yielding what each was given (without the decisions at the ends of epochs)."""
    for epoch in range(epochs or cohort.schedule.epochs):
        for now in cohort.feed.steps(epoch, [1.0] * len(cohort.members)):
            cohort.state, _ = cohort.executor.step(cohort.state, cohort.const, now)
            yield now
        cohort.epoch += 1


def backward(net: nn.Module, x: Tensor, y: Tensor) -> None:
    """The gradient of the mean squared error, into `.grad`."""
    net.zero_grad()
    nn.functional.mse_loss(net(x), y).backward()


def one_step(net: nn.Module, optimizers: Sequence[Any], x: Tensor, y: Tensor) -> None:
    backward(net, x, y)
    for o in optimizers:
        o.step()


def gap_to_torch(
    recipes: Sequence[Sequence[Technique]],
    optimizers: Sequence[Callable[[nn.Module], Sequence[Any]]],
    data: Data,
    executor: Any,
    step: Callable[[nn.Module, Sequence[Any], Tensor, Tensor], None] = one_step,
) -> float:
    """The largest difference of any parameter after any of 100 steps on the same minibatches, in float64.

    ``optimizers[i](network)`` gives the PyTorch optimizers of run i.
    """
    cohort = cohort_of(recipes, data, executor)
    nets = [plain(cohort, i) for i in range(len(recipes))]
    theirs = [make(net) for make, net in zip(optimizers, nets, strict=True)]
    start = [params_of(cohort, i) for i in range(len(recipes))]
    gap, made = 0.0, 0
    for now in steps(cohort):
        made += 1
        for i, (net, o) in enumerate(zip(nets, theirs, strict=True)):
            step(net, o, data.x[now.rows[i]].double(), data.y[now.rows[i]].double())  # type: ignore[index]
            ours = params_of(cohort, i)
            gap = max(gap, *(float((p.detach() - ours[n]).abs().max()) for n, p in net.named_parameters()))
    assert made == 100
    for i, s in enumerate(start):  # it went somewhere
        assert max(float((params_of(cohort, i)[n] - v).abs().max()) for n, v in s.items()) > 1e-2
    return gap


def torch_rates(scheduler: Callable[[Any], Any], n: int, base: float = 0.4) -> list[float]:
    """The learning rate that a PyTorch scheduler gives each of ``n`` steps."""
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=base)
    plan, rates = scheduler(optimizer), []
    for _ in range(n):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        plan.step()
    return rates


def our_rates(*entries: Technique, data: Data, base: float = 0.4) -> list[float]:
    """The learning rate that each of the 100 steps of a training run is given."""
    cohort = cohort_of([[T.SGD(base), *entries]], data)
    return [float(now.rate[0]) for epoch in range(20) for now in cohort.feed.steps(epoch, [1.0])]
