"""BatchNorm against nn.BatchNorm1d to 3d of PyTorch, forward, backward and statistics, and its own promises."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.func import functional_call, grad_and_value

import equipoise as eq
from equipoise.errors import EquipoiseError
from equipoise.techniques.normalization._statistics import synchronize
from equipoise.techniques.normalization.batch_norm import BatchNorm

from ..rig import Rig
from .norm_support import (
    F64,
    LAST,
    MAPS,
    C,
    Flat,
    assert_equals_torch,
    assert_off_is_plain,
    assert_stacked_equals_alone,
    behind,
    loss,
    network,
)


def torchs(kind: str, **options: Any) -> nn.Module:
    """PyTorch's layer for the map of a kind."""
    layers = {"conv2d": nn.BatchNorm2d, "circular": nn.BatchNorm2d, "conv3d": nn.BatchNorm3d}
    norm = layers.get(kind, nn.BatchNorm1d)(C, **options)
    return Flat(norm) if kind in LAST else norm


@pytest.mark.parametrize("affine", [True, False])
@pytest.mark.parametrize("kind", MAPS)
def test_equals_torch_over_several_steps(kind: str, affine: bool) -> None:
    """Outputs, gradients, running statistics and evaluation; PyTorch's map has no bias, ours is held."""
    options = {"affine": affine, "momentum": 0.3}
    rig, norm = assert_equals_torch(BatchNorm(**options), kind, torchs(kind, **options), bias=False)
    for name in ("running_mean", "running_var"):
        torch.testing.assert_close(rig.buffers[f"0.normalization.{name}"], getattr(norm, name), rtol=0, atol=1e-10)


@pytest.mark.parametrize("affine", [True, False])
def test_ddof_1_divides_by_m_minus_1(affine: bool) -> None:
    model, x = network("conv2d")
    rig = Rig(model, x, BatchNorm(ddof=1, affine=affine, epsilon=0.1))
    if affine:
        rig.params["0.normalization.weight"] = torch.linspace(0.5, 2, 6, dtype=F64)
        rig.params["0.normalization.bias"] = torch.linspace(-1, 1, 6, dtype=F64)
    z = nn.functional.conv2d(x, model[0].weight, None, 2, 1, groups=2)
    u = (z - z.mean((0, 2, 3), keepdim=True)) / (z.var((0, 2, 3), correction=1, keepdim=True) + 0.1).sqrt()
    g, b = torch.linspace(0.5, 2, 6, dtype=F64), torch.linspace(-1, 1, 6, dtype=F64)
    expected = u * g.view(1, -1, 1, 1) + b.view(1, -1, 1, 1) if affine else u
    torch.testing.assert_close(rig(x), model[2](model[1](expected)), rtol=0, atol=1e-12)
    torch.testing.assert_close(
        rig.buffers["0.normalization.running_var"], 0.9 + 0.1 * z.var((0, 2, 3)), rtol=0, atol=1e-12
    )


@pytest.mark.parametrize("w", [0.0, 0.25, 1.0])
@pytest.mark.parametrize("units", [None, (0, 4)])
def test_the_gate_mixes_and_units_are_chosen(units: Any, w: float) -> None:
    """w·ẑ + (1 − w)·z, and the bias of exactly the normalized units enters as (1 − w)·b."""
    model, x = network("conv2d")
    rig = Rig(model, x, BatchNorm(w=w, units=units))
    share = torch.zeros(6, dtype=F64)
    share[list(range(6) if units is None else units)] = w
    bias = model[0].bias * (1 - share)
    z = nn.functional.conv2d(x, model[0].weight, bias, 2, 1, groups=2)
    u = (z - z.mean((0, 2, 3), keepdim=True)) / (z.var((0, 2, 3), correction=0, keepdim=True) + 1e-5).sqrt()
    s = share.view(1, -1, 1, 1)
    expected = model[2](model[1](s * u + (1 - s) * z))
    torch.testing.assert_close(rig(x), expected, rtol=0, atol=1e-12)
    grad = rig.gradients(x, loss)["0.bias"]
    held = share == 1
    assert not grad[held].any() and bool((grad[~held] != 0).all())


def test_off_is_the_plain_network() -> None:
    assert_off_is_plain(BatchNorm(), "vectors")


@pytest.mark.parametrize(
    "options", [{}, {"units": (1, 2, 5)}, {"w": 0.3}, {"w": 0.3, "units": (5,)}, {"affine": False, "ddof": 1}]
)
@pytest.mark.parametrize("kind", MAPS)
def test_folding_is_exact(kind: str, options: dict[str, Any]) -> None:
    """The plain network predicts the same to 1e-12 in float64, with the user's own class and keys."""
    model, x = network(kind)
    rig = Rig(model, x, BatchNorm(**options))
    for step in range(4):
        rig.descend(x * (1 + 0.2 * step), loss)
    plain, notes = rig.folded()
    assert not notes and list(plain.state_dict()) == list(model.state_dict()) and type(plain[0]) is type(model[0])  # type: ignore[index]
    torch.testing.assert_close(plain(x), rig(x, training=False), rtol=0, atol=1e-12)


class Odd(nn.Module):
    """Maps that cannot take a normalization in: called twice, tied, frozen, without bias."""

    def __init__(self) -> None:
        super().__init__()
        self.twice, self.one, self.other = nn.Linear(5, 5), nn.Linear(5, 5), nn.Linear(5, 5)
        self.frozen, self.bare, self.head = nn.Linear(5, 5), nn.Linear(5, 5, bias=False), nn.Linear(5, 3)
        self.other.weight = self.one.weight
        self.left, self.right = nn.Linear(5, 5), nn.Linear(5, 5)
        self.right.bias = self.left.bias
        self.frozen.requires_grad_(False)

    def forward(self, x: Tensor) -> Tensor:
        h = torch.tanh(self.twice(torch.tanh(self.twice(x))))
        h = torch.tanh(self.other(torch.tanh(self.one(h))))
        h = torch.tanh(self.right(torch.tanh(self.left(h))))
        return self.head(torch.tanh(self.bare(torch.tanh(self.frozen(h)))))


@pytest.mark.parametrize("options", [{}, {"w": 0.4}, {"units": (0, 3)}])
def test_where_folding_is_not_exact_the_layer_is_kept(options: dict[str, Any]) -> None:
    torch.manual_seed(1)
    model, x = Odd().double(), torch.randn(11, 5, dtype=F64)
    rig = Rig(model, x, BatchNorm(**options))
    for step in range(3):
        rig.descend(x * (1 + 0.2 * step), loss)
    plain, notes = rig.folded()
    torch.testing.assert_close(plain(x), rig(x, training=False), rtol=0, atol=1e-12)
    assert plain.right.bias is plain.left.bias
    assert [n.split(" at ")[1] for n in notes] == [
        "twice is kept as a layer: the affine map is called more than once.",
        "one is kept as a layer: its weights are tied.",
        "other is kept as a layer: its weights are tied.",
        "left is kept as a layer: its weights are tied.",
        "right is kept as a layer: its weights are tied.",
        "frozen is kept as a layer: its weights are frozen.",
        "bare is kept as a layer: the affine map has no bias.",
    ]  # fmt: skip
    assert torch.equal(plain.frozen.weight, model.frozen.weight) and plain.other.weight is plain.one.weight  # type: ignore[union-attr]


# --- statistics of the whole training set -----------------------------------------------------------------------------
def weights_and_batches(statistics: str, table: Any) -> tuple[Any, list[Tensor], nn.Sequential]:
    """A trained run, its clean minibatches, and PyTorch's network with the run's weights in training mode."""
    build = lambda: nn.Sequential(nn.Linear(6, 7), nn.ReLU(), nn.Linear(7, 4), nn.Tanh(), nn.Linear(4, 3))  # noqa: E731
    options = eq.Options(precision="float64")
    recipe = eq.Recipe(BatchNorm(statistics=statistics), eq.techniques.Dropout(0.3), eq.techniques.Momentum(0.1))
    run = eq.train(build, recipe, table, epochs=2, batch_size=32, options=options)
    x = run.program.objective.prepare(table.x[table.rows["fit"]].double(), run.program.by_key, run.const.fitted)
    batches = list(x.split(32))
    assert len(batches[-1]) not in (1, 32)  # unequal, so that the weights by m are seen
    p = run.state["params"]
    layers: list[nn.Module] = []
    for i, act in ((0, nn.ReLU()), (2, nn.Tanh())):
        lin, norm = (
            nn.Linear(*p[f"{i}.weight"].T.shape, bias=False, dtype=F64),
            nn.BatchNorm1d(len(p[f"{i}.weight"]), momentum=1.0, dtype=F64),
        )
        lin.weight.data, norm.weight.data, norm.bias.data = (
            p[f"{i}.weight"],
            p[f"{i}.normalization.weight"],
            p[f"{i}.normalization.bias"],
        )
        layers += [lin, norm, act]
    return run, batches, nn.Sequential(*layers).train()


@pytest.mark.parametrize("statistics", ["population", "pooled"])
def test_population_statistics_come_from_the_final_weights(statistics: str, table: Any) -> None:
    """D2's form and the exact pooled one, against PyTorch's layer with momentum 1 shown the clean batches in turn."""
    run, batches, net = weights_and_batches(statistics, table)
    m = torch.tensor([float(len(b)) for b in batches], dtype=F64)[:, None]
    means: dict[int, list[Tensor]] = {1: [], 4: []}
    unbiased: dict[int, list[Tensor]] = {1: [], 4: []}
    for b in batches:
        net(b)
        for i in (1, 4):
            means[i].append(net[i].running_mean.clone())  # type: ignore[union-attr,operator]
            unbiased[i].append(net[i].running_var.clone())  # type: ignore[union-attr,operator]
    for i, site in ((1, 0), (4, 2)):
        mean, var = torch.stack(means[i]), torch.stack(unbiased[i])
        mu = (m * mean).sum(0) / m.sum()
        if statistics == "population":
            sigma2 = (m * var).sum(0) / m.sum()
        else:
            sigma2 = ((m - 1) * var + m * (mean - mu) ** 2).sum(0) / m.sum()
        buffers = run.state["buffers"]
        torch.testing.assert_close(buffers[f"{site}.normalization.running_mean"], mu, rtol=0, atol=1e-12)
        torch.testing.assert_close(buffers[f"{site}.normalization.running_var"], sigma2, rtol=0, atol=1e-12)
    if statistics == "pooled":  # of the first layer it is the plain variance of all rows
        z = torch.cat(batches) @ run.state["params"]["0.weight"].T
        torch.testing.assert_close(
            run.state["buffers"]["0.normalization.running_var"], z.var(0, correction=0), rtol=0, atol=1e-12
        )
    x = table.x[table.rows["test"]]
    prepared = run.program.objective.prepare(x.double(), run.program.by_key, run.const.fitted)
    np.testing.assert_allclose(run.predict(x), torch.softmax(run.model(prepared), -1).detach().numpy(), atol=1e-12)


def test_population_statistics_of_a_map_called_twice_take_both_calls() -> None:
    torch.manual_seed(0)
    model, x = Odd().double(), torch.randn(12, 5, dtype=F64)
    t = BatchNorm(where="twice", statistics="pooled")
    rig = Rig(model, x, t)
    batches = [x[:5], x[5:]]

    def passes(params: Any, buffers: Any) -> Any:
        for b in batches:
            yield rig.run(params, buffers, b)[1], len(b)

    from equipoise.technique import At

    _, buffers = t.finish(rig.params, rig.buffers, At(rig.net, forward=passes))
    z = []
    for b in batches:
        first = b @ model.twice.weight.T
        h = torch.tanh((first - first.mean(0)) / (first.var(0, correction=0) + 1e-5).sqrt())
        z += [first, h @ model.twice.weight.T]
    every = torch.cat(z).detach()
    torch.testing.assert_close(buffers["twice.normalization.running_mean"], every.mean(0), rtol=0, atol=1e-12)
    torch.testing.assert_close(
        buffers["twice.normalization.running_var"], every.var(0, correction=0), rtol=0, atol=1e-12
    )


# --- ways of running --------------------------------------------------------------------------------------------------
OPTIONS = [{}, {"ddof": 1, "units": (0, 2)}, {"statistics": "population"}]


@pytest.mark.parametrize("options", OPTIONS)
@pytest.mark.parametrize("kind", ["vectors", "sequences", "conv2d"])
def test_stacked_equals_alone(kind: str, options: dict[str, Any]) -> None:
    assert_stacked_equals_alone(BatchNorm(**options), kind)


@pytest.mark.parametrize("options", OPTIONS)
def test_compiled_equals_eager(options: dict[str, Any]) -> None:
    """The layer as one graph: ẑ, its gradients and the new statistics."""
    model, x = network("conv2d")
    t = BatchNorm(**options)
    layer: Any = Rig(model, x, t).net.module[0].normalization  # type: ignore[union-attr,index]
    params, buffers = dict(layer.named_parameters()), dict(layer.named_buffers())

    def f(p: Any, b: Any, z: Tensor) -> Any:
        tensors = {**p, **b}
        out = functional_call(layer, tensors, (z,))
        return loss(out), {k: tensors[k] for k in b}

    z = model[0](x).detach()
    both = [
        grad_and_value(f, has_aux=True),
        torch.compile(grad_and_value(f, has_aux=True), backend="aot_eager", fullgraph=True),
    ]
    for eager, traced in zip(*(torch.utils._pytree.tree_leaves(g(params, buffers, z)) for g in both), strict=True):
        torch.testing.assert_close(traced, eager, rtol=0, atol=1e-12)


@pytest.mark.parametrize("affine", [True, False])
@pytest.mark.parametrize("kind", ["vectors", "conv2d"])
def test_half_precision_takes_statistics_in_full(kind: str, affine: bool) -> None:
    model, x = network(kind)
    model, x = model.float(), x.float()
    rig, exact = Rig(model, x, BatchNorm(affine=affine)), Rig(model, x, BatchNorm(affine=affine))
    both = torch.utils._pytree.tree_map(lambda v: torch.stack([v, v]), (rig.params, rig.buffers, x))
    out = exact(x)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        half = rig(x)
        stacked, _ = torch.vmap(rig.run)(*both)
        predicted = rig(x, training=False)
    assert half.dtype == predicted.dtype == torch.bfloat16
    torch.testing.assert_close(half.float(), out, rtol=0, atol=0.05)
    torch.testing.assert_close(stacked[1].float(), half.float(), rtol=0, atol=0.02)
    for name, v in rig.buffers.items():
        assert v.dtype == torch.float32
        torch.testing.assert_close(v, exact.buffers[name], rtol=0.02, atol=0.01)


def test_one_row_does_not_divide_by_zero() -> None:
    for options in ({}, {"ddof": 1}):
        model, x = network("vectors")
        rig = Rig(model, x, BatchNorm(**options))
        assert rig(x[:1]).isfinite().all() and all(v.isfinite().all() for v in rig.buffers.values())


def test_arms_with_and_without_share_a_program(table: Any) -> None:
    recipes = [eq.Recipe(BatchNorm(w=w), eq.techniques.Momentum(0.1)) for w in (1.0, 0.0)] + [
        eq.Recipe(eq.techniques.Momentum(0.1))
    ]
    build = lambda: nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 3))  # noqa: E731
    many = eq.train_many(
        build, recipes, table, seeds=[3, 3, 3], epochs=2, batch_size=32, options=eq.Options(precision="float64")
    )
    assert many[0].program is many[1].program is many[2].program
    for k, v in many[2].state["params"].items():
        torch.testing.assert_close(many[1].state["params"][k], v, rtol=0, atol=1e-12)
    assert not torch.allclose(many[0].state["params"]["0.weight"], many[1].state["params"]["0.weight"])


# --- ranks ------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("options", [{}, {"ddof": 1}, {"affine": False}])
def test_one_rank_alone_equals_the_kernel(options: dict[str, Any]) -> None:
    """The formula for many ranks, on a group of one: the same numbers as without a group."""
    model, x = network("conv2d")
    rigs = [Rig(model, x, BatchNorm(**options)) for _ in range(2)]
    torch.distributed.init_process_group("gloo", store=torch.distributed.HashStore(), rank=0, world_size=1)
    try:
        assert synchronize(rigs[1].net.module, torch.distributed.group.WORLD) == 1
        for _ in range(2):
            torch.testing.assert_close(rigs[1].descend(x, loss), rigs[0].descend(x, loss), rtol=0, atol=1e-12)
        torch.testing.assert_close(rigs[1].buffers, rigs[0].buffers, rtol=0, atol=1e-12)
    finally:
        torch.distributed.destroy_process_group()


def _rank(rank: int, port: int, results: Any) -> None:
    torch.set_num_threads(1)
    torch.distributed.init_process_group("gloo", init_method=f"tcp://127.0.0.1:{port}", rank=rank, world_size=2)
    model, x = network("conv2d")
    t = BatchNorm(ddof=1)
    rig = Rig(model, x, t)
    assert synchronize(rig.net.module, torch.distributed.group.WORLD) == 1
    mine = x[:2] if rank == 0 else x[2:]  # unequal shares
    grads = rig.gradients(mine, lambda out: out.square().sum())
    for g in grads.values():
        torch.distributed.all_reduce(g)
    results[rank] = (grads, rig.buffers)
    torch.distributed.destroy_process_group()


@pytest.mark.slow  # two processes that import torch
def test_two_ranks_equal_one_process() -> None:
    """Forward, backward and running statistics of a batch split 2 : 3 over two processes."""
    import socket

    import torch.multiprocessing as mp

    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port = s.getsockname()[1]
    with mp.Manager() as manager:
        results = manager.dict()
        mp.spawn(_rank, (port, results), nprocs=2)
        two = dict(results)
    model, x = network("conv2d")
    rig = Rig(model, x, BatchNorm(ddof=1))
    grads = rig.gradients(x, lambda out: out.square().sum())
    for rank in (0, 1):
        for k, g in grads.items():
            torch.testing.assert_close(two[rank][0][k], g, rtol=0, atol=1e-10)
        for k, v in rig.buffers.items():
            torch.testing.assert_close(two[rank][1][k], v, rtol=0, atol=1e-10)


# --- refusals ---------------------------------------------------------------------------------------------------------
class Recurrent(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.rnn, self.fc = nn.GRU(5, 4, batch_first=True), nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.rnn(x)[0][:, -1])


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda: BatchNorm(units=3), "units lists different unit numbers"),
        (lambda: BatchNorm(units=(1, 1)), "units lists different unit numbers"),
        (lambda: BatchNorm(epsilon=0), "epsilon is a positive number"),
        (lambda: BatchNorm(momentum=0), r"lies in \(0, 1\]"),
        (lambda: BatchNorm(w=1.5), r"w must lie in \[0, 1\].*w=0 switches it off"),
        (lambda: Rig(*network("vectors"), BatchNorm(units=(6,))), "0 has units 0 to 5"),
        (lambda: Rig(*network("vectors"), BatchNorm(), BatchNorm(where="0")), "a site holds one normalization"),
        (lambda: Rig(*with_own_norm(), BatchNorm(where="0")), "0: the model normalizes it itself"),
        (lambda: Rig(*with_own_norm(), BatchNorm()), "finds no site to normalize"),
        (lambda: Rig(Recurrent(), torch.randn(3, 4, 5), BatchNorm(where="rnn")), "recurrent module"),
    ],
)  # fmt: skip
def test_refusals_say_what_to_do(make: Any, text: str) -> None:
    with pytest.raises(EquipoiseError, match=text) as e:
        make()
    assert "\n" not in str(e.value)


def with_own_norm() -> tuple[nn.Sequential, Tensor]:
    model, x = network("vectors")
    return behind(model, torchs("vectors"), bias=False), x


def test_batches_of_one_row_are_refused(table: Any) -> None:
    with pytest.raises(EquipoiseError, match="batches of one row"):
        eq.train("mlp(hidden=(4,))", eq.Recipe(BatchNorm()), table, epochs=1, batch_size=1)


def test_own_layers_are_left_alone_and_told() -> None:
    model, x = with_own_norm()
    both = nn.Sequential(nn.Linear(5, 5).double(), nn.ReLU(), *model)
    rig = Rig(both, x, BatchNorm())
    assert rig.net.sites[0].norm_by == "BatchNorm/all" and rig.net.sites[1].norm_by is None
    assert "BatchNorm leaves 2 alone: the model normalizes it itself." in rig.net.notes
