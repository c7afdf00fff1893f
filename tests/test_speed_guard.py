"""A guard against slow steps that needs no clock: what case (c) of benchmarks/speed asks of the machine, counted.

Counts are the same on every machine and under every load. Each bound is what the step takes now, beside it, and a tenth
more: one more operation passes, machinery that comes back does not. A ratio of CPU times stands beside them.
"""

from __future__ import annotations

import gc
import sys
import time
from collections.abc import Sequence
from typing import Any

import torch
from torch import nn
from torch.fx.experimental.proxy_tensor import make_fx
from torch.utils import _pytree as pytree
from torch.utils._python_dispatch import TorchDispatchMode

from equipoise import techniques as T
from equipoise.cohort import Cohort
from equipoise.data import Data
from equipoise.executor import Single, Stack, of_run
from equipoise.feed import Schedule
from equipoise.gradients import by_autograd
from equipoise.plan import Member, Options, group
from equipoise.programs import make_program
from equipoise.recipe import resolve
from equipoise.technique import Empty, Technique

BATCH = 64


def network() -> nn.Module:
    return nn.Sequential(nn.Linear(20, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 2))


def table(batches: int) -> Data:
    n = BATCH * batches
    g = torch.Generator().manual_seed(0)
    x = torch.randn(n + 12, 20, generator=g)
    parts = {r: list(range(n + 4 * i, n + 4 * i + 4)) for i, r in enumerate(("stop", "assess", "test"))}
    return Data(x, (x[:, 0] > 0).long(), split={"fit": list(range(n)), **parts}, name="guard")


PLAIN = (Empty("inputs"), T.AdamW(1e-3, decay=0.01))
MACHINERY = (*PLAIN, T.Dropout(0.2), T.L2(1e-4), T.ClipGradients(5.0, by="norm"), T.MixUp(0.2))


def cohort(entries: Sequence[Technique], runs: int, executor: Any, batches: int) -> Cohort:
    data = table(batches)
    members = [Member(resolve(entries, data.task), seed) for seed in range(runs)]
    [(shared, _)] = group(members)
    program = make_program(network, shared, members[0], data, Options())
    return Cohort(program, members, data, Schedule(4, BATCH), executor)


class Counter(TorchDispatchMode):
    """Counts the operations that reach a kernel, and those among them that make the host wait for a number."""

    def __init__(self) -> None:
        super().__init__()
        self.operations = self.waits = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.operations += 1
        self.waits += func is torch.ops.aten._local_scalar_dense.default
        return func(*args, **(kwargs or {}))


def per_step(entries: Sequence[Technique], runs: int, executor: Any) -> tuple[float, float]:
    """Operations and waits that one more step costs: epochs of 2 and of 10 steps, both within one block of the feed."""
    seen = []
    for batches in (2, 10):
        c = cohort(entries, runs, executor, batches)
        c.train_epoch()
        with Counter() as counter:
            c.train_epoch()
        seen.append((counter.operations, counter.waits))
    (a, b), (c_, d) = seen
    return (c_ - a) / 8, (d - b) / 8


def test_a_plain_step_takes_few_operations():
    operations, waits = per_step(PLAIN, 1, Single)
    assert operations <= 206, operations  # 187
    assert waits == 0


def test_a_stacked_step_takes_as_many_operations_for_4_runs_as_for_16():
    few, waits = per_step(MACHINERY, 4, Stack)
    many, _ = per_step(MACHINERY, 16, Stack)
    assert few == many <= 614, (few, many)  # 558
    assert waits == 0


def nodes(entries: Sequence[Technique]) -> int:
    """Operations in the traced step of one run: what the compiler is given, and its time with it."""
    c = cohort(entries, 1, Single, 4)
    first: Any = (c.executor.member(c.state, 0), c.executor.member(c.const, 0))
    leaves, spec = pytree.tree_flatten((*first, of_run(next(c.feed.steps(0, [1.0])), 0)))

    def flat(*given: Any) -> list[Any]:
        state, const, now = pytree.tree_unflatten(list(given), spec)
        return pytree.tree_leaves(c.program.step(state, const, now, by_autograd))

    graph = make_fx(flat)(*leaves)
    graph.graph.eliminate_dead_code()
    return sum(n.op == "call_function" for n in graph.graph.nodes)


def test_the_traced_step_is_small():
    assert nodes(PLAIN) <= 190  # 173
    assert nodes(MACHINERY) <= 359  # 326


def calls(entries: Sequence[Technique], runs: int) -> float:
    """Python functions entered per step to make the inputs of a block of 64 steps."""
    c = cohort(entries, runs, Stack if runs > 1 else Single, 64)
    list(c.feed.blocks(0, [1.0] * runs))
    count = 0

    def entered(_: Any, event: str, __: Any) -> None:
        nonlocal count
        count += event == "call"

    gc.collect()
    gc.disable()  # finalizers of earlier garbage are no calls of ours
    sys.setprofile(entered)
    try:
        list(c.feed.blocks(1, [1.0] * runs))
    finally:
        sys.setprofile(None)
        gc.enable()
    return count / 64


def test_feeding_a_step_takes_few_calls():
    assert calls(PLAIN, 1) <= 5  # 4.5
    assert calls(MACHINERY, 16) <= 136  # 123, most of them one host draw a run and block


def test_sixteen_stacked_runs_are_several_times_faster_than_one_by_one():
    """CPU seconds of eager epochs, alternating, the best of three: a step of 16 runs must not fall back to a loop."""
    stacked, alone = cohort(MACHINERY, 16, Stack, 8), cohort(MACHINERY, 16, Single, 8)
    taken: dict[int, list[float]] = {0: [], 1: []}
    for _ in range(3):
        for i, c in enumerate((stacked, alone)):
            began = time.thread_time()
            c.train_epoch()
            taken[i].append(time.thread_time() - began)
    assert min(taken[1]) > 2.5 * min(taken[0]), taken  # about 4
