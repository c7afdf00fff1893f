"""What steps are fed: the same whether made in turn or ahead, by another thread."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

import equipoise as eq
from equipoise import techniques as T
from equipoise.cohort import Cohort
from equipoise.feed import BLOCK, Fed, Feed, Schedule
from equipoise.plan import Member, Options, group
from equipoise.programs import make_program
from equipoise.recipe import resolve
from equipoise.rng import mix3, permutation, permutations, source

N, BATCH = 40 * 60, 4  # 1440 rows to fit on in 360 steps, which are two blocks


@pytest.fixture(scope="module")
def data() -> eq.Data:
    g = torch.Generator().manual_seed(0)
    x = torch.randn(N, 5, generator=g)
    return eq.Data(x, (x[:, 0] > 0).long())


def cohort(data: eq.Data, schedule: Schedule) -> Cohort:
    recipe = [T.MixUp(0.4), T.Plateau(), T.AdamW(1e-2)]
    members = [Member(resolve(eq.Recipe(*recipe), data.task), seed) for seed in (3, 4)]
    [(techniques, _)] = group(members)
    program = make_program(lambda: nn.Linear(5, 2), techniques, members[0], data, Options())
    return Cohort(program, members, data, schedule)


@pytest.fixture
def feed(data: eq.Data) -> Feed:
    return cohort(data, Schedule(3, BATCH)).feed


def given(feed: Feed, factors: Sequence[Sequence[float]], ready: Any, first: int = 0) -> list[Fed]:
    """All blocks of three epochs; of the first one from step ``first`` on."""
    return [f for epoch in range(3) for f in feed.blocks(epoch, factors[epoch], 0 if epoch else first, ready)]


def equal(a: Fed, b: Fed) -> bool:
    leaves = zip(pytree.tree_leaves(a.block._asdict()), pytree.tree_leaves(b.block._asdict()), strict=True)
    return a.skip == b.skip and all(torch.equal(v, w) for v, w in leaves)


@pytest.mark.parametrize("first", [0, 7, BLOCK, BLOCK + 3])
def test_blocks_made_ahead_are_those_made_in_turn(feed: Feed, first: int) -> None:
    """Also where the rates change between epochs, so that what was made ahead is not what is wanted."""
    factors = [[1.0, 1.0], [1.0, 0.5], [1.0, 0.5]]
    plain = given(feed, factors, None, first)
    ahead = given(feed, factors, lambda block: block.y.sum(), first)
    assert len(plain) == len(ahead) == (6 if first < BLOCK else 5) and all(map(equal, plain, ahead))
    assert all(f.given is None for f in plain)
    made = [f.given is not None for f in ahead]
    second = len(made) - 4  # the first block of the second epoch, at other rates
    assert made == [i > 0 and i != second for i in range(len(made))]
    assert all(f.given == f.block.y.sum() for f, m in zip(ahead, made, strict=True) if m)


def test_they_are_made_by_another_thread_as_the_caller_computes(feed: Feed) -> None:
    seen = list[tuple[bool, int, bool]]()
    tiny = torch.full((1,), 1e-40)

    def ready(_: Any) -> None:
        here = threading.current_thread() is threading.main_thread()
        seen.append((here, torch.get_num_threads(), bool((tiny * 1.0).any())))

    assert torch.set_flush_denormal(True)
    try:
        list(feed.blocks(0, [1.0, 1.0], 0, ready))
        next(feed.blocks(1, [1.0, 1.0]))  # waits for the last one
    finally:
        torch.set_flush_denormal(False)
    assert seen == [(False, 1, False)] * 2


def test_what_cannot_be_made_ahead_is_left_to_its_turn(feed: Feed) -> None:
    def ready(_: Any) -> None:
        raise RuntimeError("can't allocate memory")

    blocks = given(feed, [[1.0, 1.0]] * 3, ready)
    assert len(blocks) == 6 and all(f.given is None for f in blocks)


def test_a_blocks_own_error_shows_where_it_is_taken(feed: Feed, monkeypatch: pytest.MonkeyPatch) -> None:
    blocks = feed.blocks(0, [1.0, 1.0], 0, lambda block: None)
    monkeypatch.setattr(feed, "order", None)  # of the next epoch
    next(blocks), next(blocks)
    with pytest.raises(TypeError):
        next(feed.blocks(1, [1.0, 1.0]))


# --- orders -----------------------------------------------------------------------------------------------------------
def by_torch(seed: int, n: int, *counters: int) -> Tensor:
    noise = source(seed, "order", *counters)
    high, low = noise.bits((n,)) & 0x7FFFFFFF, noise.bits((n,)) & 0x7FFFFFFF
    return torch.argsort((high.long() << 31) | low, stable=True)


@pytest.mark.parametrize("n", [0, 1, 2, 17, 5000])
def test_orders_are_those_of_the_noise_sorted_by_torch(n: int) -> None:
    seeds = [0, 3, (1 << 40) + 5]
    for seed, order in zip(seeds, permutations(seeds, "order", n, 6), strict=True):
        assert torch.equal(order, by_torch(seed, n, 6)) and torch.equal(order, permutation(seed, "order", n, 6))


def test_ties_keep_their_position(monkeypatch: pytest.MonkeyPatch) -> None:
    def coarse(i: Any, a: Any, b: Any) -> Any:
        return mix3(i, a, b) & (
            3 if len(i) > 1 else -1
        )  # 16 keys for 4000 elements, both draws of weight; whole subkeys

    monkeypatch.setattr("equipoise.rng.mix3", coarse)
    order = permutation(1, "order", 4000)
    assert torch.equal(order, by_torch(1, 4000))
    assert len(order.unique()) == 4000 and not torch.equal(order, torch.arange(4000))
