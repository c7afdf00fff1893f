"""Steps as one compiled loop: what the eager steps give, in any pieces, parts and threads; kept; never in the way."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils import _pytree as pytree

import equipoise as eq
from equipoise import Data, Options, building, native
from equipoise import techniques as T
from equipoise.cohort import Cohort
from equipoise.compiling import OVERHEAD, PER_ELEMENT, Steps, can_compile
from equipoise.execution import BESIDE
from equipoise.executor import Executor, Single, Stack
from equipoise.feed import Schedule
from equipoise.loop import Loop, _Body
from equipoise.plan import Member, group
from equipoise.programs import make_program
from equipoise.recipe import Recipe, resolve
from equipoise.technique import Technique
from equipoise.tracing import over_steps, pack, split_small, trace, unpack

needs_compiler = pytest.mark.skipif(not can_compile(torch.device("cpu")), reason="no compiler is installed")
RICH = (T.BatchNorm(), T.Dropout(0.2), T.L2(1e-3), T.MixUp(0.2), T.Cosine(), T.AdamW(1e-2, decay=0.0))
ALWAYS = Options(compile="always", threads=1)


@pytest.fixture(scope="module", autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """One cache for the tests of this file, empty at its start."""
    with pytest.MonkeyPatch.context() as patch:
        where = tmp_path_factory.mktemp("cache")
        patch.setenv("EQUIPOISE_CACHE", str(where))
        yield where


@pytest.fixture(scope="module")
def data() -> Data:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(240, 6, generator=generator)
    return Data(x, (x[:, 0] > 0).long())


def model() -> nn.Module:
    return nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 2))


def cohort_of(data: Data, runs: int, executor: type[Executor] = Stack, entries: tuple[Technique, ...] = RICH) -> Cohort:
    members = [Member(resolve(Recipe(*entries), data.task), seed) for seed in range(runs)]
    [(techniques, _)] = group(members)
    program = make_program(model, techniques, members[0], data, ALWAYS)
    return Cohort(program, members, data, Schedule(4, 12), executor)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def compiled(data: Data) -> Cohort:
    """Three runs in parts of two: the second part is filled up. It lends its compiled code to the others."""
    cohort = cohort_of(data, 3)
    assert cohort.compile(ALWAYS, part=2) > 0 and cohort.compiled, cohort.why
    return cohort


def lent(compiled: Cohort, data: Data, threads: int = 1, pace: int = 1000) -> Cohort:
    """A fresh cohort of the same program with the code of ``compiled``."""
    cohort = Cohort(compiled.program, compiled.members, data, compiled.schedule, Stack)
    block = next(cohort.feed.blocks(0, [1.0] * 3)).block
    cohort.executor.compile(cohort.state, cohort.const, block, 2, threads)
    cohort.executor._pace = pace
    return cohort


def leaves(cohort: Cohort) -> list[Tensor]:
    return pytree.tree_leaves(cohort.state)


@needs_compiler
def test_a_loop_gives_what_the_eager_steps_give(compiled: Cohort, data: Data) -> None:
    eager, looped = Cohort(compiled.program, compiled.members, data, compiled.schedule, Stack), lent(compiled, data)
    for c in (eager, looped):
        assert c.train_epoch() and c.train_epoch()
    for a, b in zip(leaves(eager), leaves(looped), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)
    for a, b in zip(eager.runs, looped.runs, strict=True):
        assert a.history[-1]["loss"] == pytest.approx(b.history[-1]["loss"], rel=1e-5)


@needs_compiler
@pytest.mark.parametrize(("threads", "pace"), [(2, 1000), (1, 1), (2, 5)])
def test_threads_and_pieces_do_not_move_a_bit(compiled: Cohort, data: Data, threads: int, pace: int) -> None:
    plain, other = lent(compiled, data), lent(compiled, data, threads, pace)
    for c in (plain, other):
        assert c.train_epoch()
    assert all(torch.equal(a, b) for a, b in zip(leaves(plain), leaves(other), strict=True))


@needs_compiler
@pytest.mark.parametrize("steps", [1, 5, 11])
def test_going_on_inside_a_block_moves_no_bit(
    compiled: Cohort, data: Data, steps: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("equipoise.executor.CALL", 0.0)  # one step a call, however fast it is
    whole, first, second = (lent(compiled, data, pace=1) for _ in range(3))
    assert whole.train_epoch()
    asked = iter([False] * (steps - 1) + [True])
    assert not first.train_epoch(lambda: next(asked)) and first.step == steps
    second.load_state_dict(first.state_dict())
    assert second.train_epoch()
    assert all(torch.equal(a, b) for a, b in zip(leaves(whole), leaves(second), strict=True))


@needs_compiler
def test_code_is_kept_and_found_again(compiled: Cohort, data: Data, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another process would have no program and no library in memory."""
    monkeypatch.setattr(building, "_loaded", {})
    monkeypatch.setattr(building, "_build", lambda *_: pytest.fail("it was built before"))
    cohort = cohort_of(data, 3)
    assert cohort.compile(ALWAYS, part=2) > 0 and cohort.compiled, cohort.why


def test_what_cannot_be_compiled_is_trained_eagerly(data: Data, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any) -> None:
        raise RuntimeError("no such operator")

    monkeypatch.setattr(building, "_build", refuse)
    cohort = cohort_of(data, 1, Single, (T.SGD(0.1),))
    cohort.compile(ALWAYS)
    assert not cohort.compiled and "could not be compiled (no such operator): eager" in cohort.why
    assert cohort.train_epoch()


# --- a second library, beside the first -------------------------------------------------------------------------------
UNEVEN = Schedule(4, 20)  # seven batches of 20 rows and one of 4


def with_a_last_batch(data: Data) -> tuple[Cohort, Any]:
    plain = cohort_of(data, 3)
    cohort = Cohort(plain.program, plain.members, data, UNEVEN, Stack)
    return cohort, (cohort.state, cohort.const, next(cohort.feed.blocks(0, [1.0] * 3)).block, 2, 1, cohort.feed.last)


@needs_compiler
def test_another_process_makes_the_library_of_last_batches(
    data: Data, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EQUIPOISE_CACHE", str(tmp_path))
    made, build = list[Path](), building._build
    monkeypatch.setattr(building, "_build", lambda e, how, path: (made.append(path), build(e, how, path)))
    (cohort, sizes), (eager, _) = with_a_last_batch(data), with_a_last_batch(data)
    cohort.executor.compile(*sizes)
    cohort.compiled = True
    there = set((tmp_path / "loops").iterdir())
    assert {p.suffix for p in there} == {".so"} and len(there) == 2 and len(made) == 1 and made[0] in there
    for _ in range(2):
        assert cohort.train_epoch() and eager.train_epoch()
    for ours, theirs in zip(leaves(cohort), leaves(eager), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=2e-4, atol=2e-5)


@needs_compiler
def test_what_another_process_cannot_make_is_made_here(
    data: Data, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def here(_: Any, __: Any, path: Path) -> None:
        raise RuntimeError(f"made here: {path.name}")

    monkeypatch.setenv("EQUIPOISE_CACHE", str(tmp_path))
    monkeypatch.setattr(building, "_build", here)
    monkeypatch.setattr("sys.executable", "/bin/false")
    cohort, (state, const, *_, last) = with_a_last_batch(data)
    first = (cohort.executor._split(v, 2)[0] for v in (state, const))
    loop = Loop(cohort.executor._part_step, *first, cohort.executor._of_part(last, 0, 2), beside=True)
    with pytest.raises(RuntimeError, match=r"made here: \w+\.so"):
        loop.ready()
    assert not list((tmp_path / "loops").iterdir())  # nor what was handed over


@needs_compiler
@pytest.mark.parametrize("executor", [Single, Stack])
def test_rare_last_batches_are_recorded(data: Data, executor: type[Executor]) -> None:
    def fresh() -> Cohort:
        plain = cohort_of(data, 2, executor)
        return Cohort(plain.program, plain.members, data, Schedule(20, 20), executor)  # type: ignore[arg-type]

    cohort, eager = fresh(), fresh()
    assert cohort.compile(ALWAYS) > 0 and cohort.compiled, cohort.why
    assert isinstance(cohort.executor._compiled[20], Loop) and isinstance(cohort.executor._compiled[4], Steps)
    for _ in range(2):
        assert cohort.train_epoch() and eager.train_epoch()
    for ours, theirs in zip(leaves(cohort), leaves(eager), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=2e-4, atol=2e-5)


def test_last_batches_have_a_library_where_that_repays(data: Data) -> None:
    cohort, _ = with_a_last_batch(data)
    elements = sum(v.numel() for v in cohort.program.net.module.parameters()) * 3
    uses = BESIDE / (OVERHEAD + PER_ELEMENT * elements)
    for cohorts, looped in ((uses / 4 * 0.9, False), (uses / 4 * 1.1, True)):
        cohort.executor.compile = lambda *sizes, c=looped: pytest.fail("") if (sizes[-1] is None) is c else None
        recorded = list[Any]()
        cohort.executor.record = lambda *_: recorded.append(1)  # noqa: B023
        cohort.compile(ALWAYS, int(cohorts))
        assert cohort.compiled and bool(recorded) is not looped


def test_a_cache_of_somebody_else_is_not_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EQUIPOISE_CACHE", str(tmp_path))
    assert building.folder() == tmp_path / "loops"
    monkeypatch.setattr("os.getuid", lambda: 1 << 20)
    with pytest.raises(RuntimeError, match="belongs to another user"):
        building.folder()


def test_scalars_are_split_off_and_nothing_else_changes() -> None:
    """w ← w·(1 − rate·decay) + t²·x: the factor and the square are scalars; only these two enter the body."""

    def step(w: Tensor, decay: Tensor, rate: Tensor, t: Tensor, x: Tensor) -> Tensor:
        return w * (1 - rate * decay) + t**2 * x

    args = (torch.randn(5), torch.tensor(0.1), torch.tensor(0.3), torch.tensor(3.0), torch.randn(5))
    graph, _ = trace(step, args)
    split = split_small(graph, [1, 2, 3], 4)
    values = split.small(*args[1:4])
    assert len(split.values) == 2 and values[0] == pytest.approx(0.97) and values[1] == 9.0
    assert split.needed == (0, 4)  # neither knob, nor rate, nor clock
    torch.testing.assert_close(split.body(args[0], args[4], *values)[0], step(*args))

    rates, times = torch.tensor([0.3, 0.2, 0.1]), torch.tensor([3.0, 4.0, 5.0])
    given = [args[1], rates, times]
    (packed,) = over_steps(split.small, [False, True, True], [True] * 3)(*given)
    torch.testing.assert_close(packed, torch.stack([1 - rates * 0.1, times**2], 1)[None])
    factor, square = unpack([packed[0, 2]], split.values)
    assert (factor, square) == (pytest.approx(0.99), 25.0) and factor.shape == ()

    given = [torch.tensor([0.1, 0.2]), rates, times]  # two parts of the runs, each with its decay
    (packed,) = over_steps(split.small, [False, True, True], [False, True, True])(*given)
    torch.testing.assert_close(packed[..., 0], 1 - torch.outer(given[0], rates))
    torch.testing.assert_close(packed[..., 1], times.expand(2, 3) ** 2)


def test_packs_hold_values_of_every_type_and_shape() -> None:
    values = [torch.arange(6.0).view(2, 3), torch.tensor(7), torch.arange(16.0), torch.tensor([[9], [10]])]
    packs = pack(values)
    assert [len(v) for v in packs] == [22, 3]
    assert packs[0][:16].equal(values[2])  # whole vector registers first
    for a, b in zip(unpack(packs, values), values, strict=True):
        assert torch.equal(a, b) and a.dtype == b.dtype


def test_resampling_stays_out_of_the_loop() -> None:
    """What moves pixels by a map of its own draws, and all that is made for it, is computed beforehand; what follows
    from the state too is not."""

    def step(w: Tensor, x: Tensor, angle: Tensor) -> Tensor:
        grid = x.new_ones(2, 3, 3, 2) * angle
        return w * F.grid_sample(x, grid, align_corners=False).sum() + F.grid_sample(x, grid * w, align_corners=False)

    args = (torch.tensor(0.5), torch.randn(2, 1, 3, 3), torch.tensor(0.2))
    split = split_small(trace(step, args)[0], [2], 4, 1, others=[1])
    targets = [n.target for n in split.body.graph.nodes]
    assert targets.count(torch.ops.aten.grid_sampler_2d.default) == 1 and split.sources == (1, 2)
    values = split.small(args[1], args[2])
    needed = [args[i] for i in split.needed]
    torch.testing.assert_close(split.body(*needed, *values)[0], step(*args))


def test_numbers_without_a_whole_mantissa_are_zero_inside_alone(compiled: Cohort) -> None:
    """Training goes on with weights of 1e-40 as with 0; the thread is left as it was."""
    tiny = torch.full((1,), 1e-40)
    with native.flushed(), native.flushed():
        assert native.flushes() and not (tiny * 1.0).any()
    assert not native.flushes() and (tiny * 1.0).any()
    compiled.executor.run(compiled.state, compiled.const, next(compiled.feed.blocks(0, [1.0] * 3)))
    assert (tiny * 1.0).any()


@pytest.mark.parametrize("small", [True, False])
def test_other_threads_keep_their_count(
    compiled: Cohort, data: Data, small: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Threads take over what any thread has set last: ours are set to one."""
    monkeypatch.setattr("equipoise.execution.SMALL", 2e7 if small else 0.0)
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        cohort = lent(compiled, data, threads=2)
        cohort.compiled = True
        assert cohort.train_epoch() and torch.get_num_threads() == 3
        with ThreadPoolExecutor(1) as pool:
            assert pool.submit(torch.get_num_threads).result() == 3
    finally:
        torch.set_num_threads(before)


def test_the_compilers_own_trials_are_put_back() -> None:
    from torch._inductor import cpu_vec_isa

    tried = cpu_vec_isa.VecISA.check_build
    with building._no_trials():
        assert cpu_vec_isa.VecISA.check_build is not tried
    assert cpu_vec_isa.VecISA.check_build is tried


def test_the_layout_of_the_state_names_the_library(data: Data, compiled: Cohort) -> None:
    """Two states of one length in all, in other shapes, are not one library."""
    one = next(v for v in compiled.executor._compiled.values() if isinstance(v, Loop))
    bodies = [_Body(one._split, [v], 0, True) for v in (torch.zeros(2, 3), torch.zeros(3, 2), torch.ones(2, 3))]
    names = {building._name(b, [(6,)], [torch.zeros(6)], (1, True)) for b in bodies}
    assert len(names) == 2


@needs_compiler
def test_weights_that_are_handed_out_have_memory_of_their_own(data: Data) -> None:
    run = eq.train(model, list(RICH), data, epochs=2, batch_size=12, options=ALWAYS)
    assert run.record.plan["compiled"]
    for v in run.model.state_dict().values():
        assert v.untyped_storage().nbytes() == v.nbytes


@pytest.mark.parametrize("scales", [{}, {"beta": 0.5, "alpha": 2.0}])
def test_a_bias_is_added_behind_the_product(scales: dict[str, float]) -> None:
    """β·b + α·AB as two operators is PyTorch's one."""
    args = torch.randn(4), torch.randn(3, 5), torch.randn(5, 4)
    graph, _ = trace(lambda b, x, w: torch.addmm(b, x, w, **scales), args)
    assert torch.ops.aten.addmm.default not in [n.target for n in graph.graph.nodes]
    torch.testing.assert_close(graph(*args)[0], torch.addmm(*args, **scales))
