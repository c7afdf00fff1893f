"""Training that fits in memory: needs measured against real peaks, and pieces that give what the whole would."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree
from torch.utils._python_dispatch import TorchDispatchMode

from equipoise import memory
from equipoise import techniques as T
from equipoise.cohort import Cohort
from equipoise.data import Data
from equipoise.errors import EquipoiseError
from equipoise.executor import Single, Stack
from equipoise.feed import Schedule
from equipoise.memory import Pieces, need, slices
from equipoise.objective import Objective
from equipoise.plan import Member, Options, group
from equipoise.programs import make_program
from equipoise.recipe import Recipe, resolve
from equipoise.train import train

from .models_of_users import Cnn, OwnLayers, Transformer, mlp

EAGER = Options(compile="never")
EXACT = Options(compile="never", precision="float64")


def cohort(build: Any, data: Data, *entries: Any, runs: int = 1, executor: Any = None, options: Any = EXACT) -> Cohort:
    members = [Member(resolve(Recipe(*entries), data.task), seed) for seed in range(runs)]
    [(techniques, _)] = group(members)
    program = make_program(build, techniques, members[0], data, options)
    return Cohort(program, members, data, Schedule(1, 32), executor)


def trained(c: Cohort) -> Cohort:
    while not c.finished:
        c.train_epoch()
    return c


def close(a: Cohort, b: Cohort, tolerance: float = 1e-10) -> bool:
    each = [(a.result(i)["params"], b.result(i)["params"]) for i in range(len(a.members))]
    return all(torch.allclose(p[k], q[k], rtol=tolerance, atol=tolerance) for p, q in each for k in q)


@pytest.fixture
def room_for(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """``room_for(runs, rows)``: a device on which more of either at once runs out of memory."""

    def limit(runs: int, rows: int) -> None:
        stacked, loss = Stack.step, Objective.loss

        def step(self: Stack, state: Any, const: Any, now: Any) -> Any:
            if len(now.y) > runs:
                raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.\nMore lines.")
            return stacked(self, state, const, now)

        def part(self: Objective, params: Any, buffers: Any, batch: Any, *rest: Any) -> Any:
            if len(batch.y) > rows:
                raise RuntimeError("[enforce fail at alloc_cpu.cpp:1] DefaultCPUAllocator: can't allocate memory")
            return loss(self, params, buffers, batch, *rest)

        monkeypatch.setattr(Stack, "step", step)
        monkeypatch.setattr(Objective, "loss", part)

    return limit


# --- where memory runs out --------------------------------------------------------------------------------------------
def test_a_cohort_splits_itself(table: Data, room_for: Any) -> None:
    whole = trained(cohort(mlp, table, T.Dropout(0.3), T.MixUp(0.2), runs=3))
    room_for(2, 1000)
    parts = trained(cohort(mlp, table, T.Dropout(0.3), T.MixUp(0.2), runs=3))
    assert parts.pieces == Pieces(runs=2) and close(parts, whole)
    assert [n for n in parts.notes if n.startswith("memory:")] == [
        "memory: 3 runs were trained 2 at a time (CUDA out of memory. Tried to allocate 2.00 GiB. More lines.).",
    ]


@pytest.mark.parametrize("executor", [Stack, Single])
def test_a_batch_is_taken_in_parts(executor: Any, table: Data, room_for: Any) -> None:
    recipe = T.Dropout(0.3), T.MixUp(0.2), T.L2(0.01), T.SAM(), T.EMA()
    whole = trained(cohort(mlp, table, *recipe, runs=2, executor=executor))
    room_for(1000, 10)
    parts = trained(cohort(mlp, table, *recipe, runs=2, executor=executor))
    assert parts.pieces == Pieces(1, 8) and close(parts, whole)
    assert [n for n in parts.notes if "8 rows at a time, which equals the whole up to rounding" in n]


def test_in_single_precision_it_is_the_same_to_a_millionth(images: Data, room_for: Any) -> None:
    build, recipe = Cnn, (T.Dropout(0.3), T.FlipHorizontal(), T.SGD(0.05))
    whole = trained(cohort(build, images, *recipe, options=EAGER))
    room_for(1000, 16)
    assert close(trained(cohort(build, images, *recipe, options=EAGER)), whole, 1e-6)


@pytest.mark.parametrize(
    ("build", "entries", "who"),
    [
        (Cnn, (T.BatchNorm(),), "BatchNorm"),
        (OwnLayers, (), "BatchNorm2d"),
        (Cnn, (T.SparseActivations(0.1, kind="l1"), T.GhostBatchNorm()), "GhostBatchNorm"),
    ],
    ids=lambda v: v if isinstance(v, str) else "",
)
def test_where_rows_meet_it_says_so(build: Any, entries: Any, who: str, images: Data, room_for: Any) -> None:
    whole = trained(cohort(build, images, *entries))
    room_for(1000, 16)
    parts = trained(cohort(build, images, *entries))
    assert [n for n in parts.notes if f"16 rows at a time, but {who} sees each part alone" in n]
    assert not close(parts, whole) and all(p.isfinite().all() for p in parts.result(0)["params"].values())


def test_where_nothing_is_left_to_split_it_is_one_line(table: Data, room_for: Any) -> None:
    room_for(1000, 0)
    with pytest.raises(EquipoiseError, match=r"memory ran out .* with one run and 1 rows of a batch at a time") as e:
        train(mlp, Recipe(T.SGD(0.1)), table, epochs=1, options=EAGER)
    assert "\n" not in str(e.value)
    with pytest.raises(EquipoiseError, match="and 2 rows of a batch"):
        train(mlp, Recipe(T.BatchNorm()), table, epochs=1, options=EAGER)


def test_other_errors_are_not_taken_for_it(table: Data, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: Any) -> Any:
        raise RuntimeError("something else")

    c = cohort(mlp, table)
    monkeypatch.setattr(Single, "step", broken)
    with pytest.raises(RuntimeError, match="something else"):
        c.train_epoch()


def test_pieces_are_kept_in_a_checkpoint(table: Data, room_for: Any) -> None:
    room_for(2, 1000)
    first, second = (cohort(mlp, table, runs=3) for _ in range(2))
    first.train_epoch()
    second.load_state_dict(first.state_dict())
    assert second.pieces == Pieces(runs=2) and second.notes == first.notes


def test_small_networks_are_not_measured(table: Data, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "need", lambda _: pytest.fail("measured"))
    cohort(mlp, table)


# --- beforehand -------------------------------------------------------------------------------------------------------
class Peak(TorchDispatchMode):
    """The most bytes of tensors that live at one time, of those made while it watches."""

    def __init__(self) -> None:
        super().__init__()
        self.live = self.most = 0
        self.known: set[int] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        given = {v.untyped_storage()._cdata for v in pytree.tree_leaves((args, kwargs)) if isinstance(v, Tensor)}
        for v in pytree.tree_leaves(out):
            if isinstance(v, Tensor):
                storage = v.untyped_storage()
                if storage._cdata not in self.known | given:
                    self.known.add(storage._cdata)
                    self.live += storage.nbytes()
                    weakref.finalize(storage, self._gone, storage._cdata, storage.nbytes())
        self.most = max(self.most, self.live)
        return out

    def _gone(self, which: int, size: int) -> None:
        self.known.discard(which)
        self.live -= size


@pytest.mark.parametrize(
    ("build", "name", "entries"),
    [
        (
            lambda: nn.Sequential(nn.Linear(6, 64), nn.ReLU(), nn.Linear(64, 64), nn.Tanh(), nn.Linear(64, 3)),
            "table",
            (),
        ),
        (Cnn, "images", ()),
        (Cnn, "images", (T.BatchNorm(), T.Dropout(0.5), T.EMA())),
        (Transformer, "sequences", ()),
    ],
    ids=["mlp", "cnn", "cnn with techniques", "transformer"],
)
def test_the_need_is_about_the_peak(build: Any, name: str, entries: Any, request: pytest.FixtureRequest) -> None:
    c = cohort(build, request.getfixturevalue(name), *entries, options=EAGER)
    now = next(c.feed.steps(0, [1.0]))
    with Peak() as peak:
        Single(c.program).step(c.state, c.const, now)
    told = need(c).of_step(32)
    assert 0.8 * peak.most < told < 2.5 * peak.most, (told, peak.most)


def test_the_need_of_a_linear_map_is_known() -> None:
    """Float32, 500 inputs and 3 outputs: the forward pass saves x (500 a row) and little else; SGD has no state."""
    g = torch.Generator().manual_seed(0)
    data = Data(torch.randn(100, 500, generator=g), torch.arange(100) % 3)
    c = cohort(lambda: nn.Linear(500, 3), data, T.SGD(0.1), options=EAGER)
    one, weights = need(c), 4 * (500 * 3 + 3)
    assert one.state == weights and 2 * weights <= one.step < 2.2 * weights
    assert memory.PEAK * 4 * 500 <= one.row < memory.PEAK * 4 * 520


def test_what_does_not_fit_is_split_beforehand(table: Data, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = trained(cohort(mlp, table, runs=3))
    one = need(whole).of_step(32)
    for free, pieces in ((2.2, Pieces(runs=2)), (1.01, Pieces(runs=1)), (0.5, Pieces(1, 4))):
        monkeypatch.setattr(memory, "available", lambda _, free=free: int(free * one / memory.SHARE))
        c = cohort(mlp, table, runs=3)
        assert c.pieces[0] == pieces[0] and (c.pieces.rows > 0) == (pieces.rows > 0)
        assert need(c).of_step(c.pieces.rows or 32) * c.pieces.runs <= free * one
        assert c.notes and "GiB are free" in c.notes[0] and c.compile(Options(compile="always")) == 0.0
        assert close(trained(c), whole)


def test_free_memory_is_that_of_the_container(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cpu = torch.device("cpu")
    assert 1 << 20 < memory.available(cpu) < 1 << 50
    (tmp_path / "meminfo").write_text("MemTotal: 9999 kB\nMemAvailable:    4096 kB\n")
    monkeypatch.setattr(memory, "MEMINFO", tmp_path / "meminfo")
    monkeypatch.setattr(memory, "CGROUPS", ((tmp_path / "max", tmp_path / "current"),))
    assert memory.available(cpu) == 4 << 20
    (tmp_path / "max").write_text("max\n")
    (tmp_path / "current").write_text("1048576\n")
    assert memory.available(cpu) == 4 << 20
    (tmp_path / "max").write_text("3145728\n")
    assert memory.available(cpu) == 2 << 20
    monkeypatch.setattr(memory, "MEMINFO", tmp_path / "absent")
    assert memory.available(cpu) == 2 << 20


def test_slices_cover_all_in_equal_parts() -> None:
    for n in range(1, 40):
        for most in range(1, n + 1):
            parts = slices(n, most)
            assert [i for p in parts for i in range(p.start, p.stop)] == list(range(n))
            sizes = [p.stop - p.start for p in parts]
            assert max(sizes) <= most and max(sizes) - min(sizes) <= 1
