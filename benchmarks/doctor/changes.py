"""Changes of a set-up: of its network after it is built, of its recipe, of its data and their order."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
import torch
from torch import nn

from equipoise.cohort import Cohort
from equipoise.data import Data
from equipoise.doctor.bench import Bench
from equipoise.executor import Single
from equipoise.feed import Schedule
from equipoise.plan import Member, Options, group
from equipoise.programs import make_program
from equipoise.technique import Empty, Technique

from .programs import Setup

AFFINE = (nn.Linear, nn.Conv2d, nn.RNNBase, nn.Embedding, nn.MultiheadAttention)
NORMS = (nn.BatchNorm1d, nn.BatchNorm2d)


# --- networks ---------------------------------------------------------------------------------------------------------
def spoiled(setup: Setup, spoil: Callable[[nn.Module], None]) -> Setup:
    """The set-up whose network is spoiled after it is built."""
    build = setup.build

    def builder() -> nn.Module:
        net = build()
        with torch.no_grad():
            spoil(net)
        return net

    return dataclasses.replace(setup, build=builder)


def weights(net: nn.Module) -> list[nn.Parameter]:
    """The matrices of affine maps, cells and embeddings."""
    own = [(m, n, p) for m in net.modules() for n, p in m.named_parameters(recurse=False)]
    return [p for m, n, p in own if isinstance(m, AFFINE) and p.dim() > 1]


def hidden(net: nn.Module) -> list[Any]:
    """Linear and convolutional layers but the last."""
    return [m for m in net.modules() if isinstance(m, (nn.Linear, nn.Conv2d))][:-1]


def unbiased(net: nn.Module) -> None:
    """Every bias at 0, as starts are written that draw the weights alone."""
    for name, p in net.named_parameters():
        if "bias" in name:
            p.zero_()


def scaled(setup: Setup, factor: float, recurrent: bool = False) -> Setup:
    def spoil(net: nn.Module) -> None:
        for p in weights(net):
            p.mul_(factor)
        unbiased(net)

    def spoil_cells(net: nn.Module) -> None:
        for name, p in net.named_parameters():
            if "weight_hh" in name:
                p.mul_(factor)

    return spoiled(setup, spoil_cells if recurrent else spoil)


def constant(setup: Setup, value: float) -> Setup:
    """Every weight starts at one value, every bias at 0."""

    def spoil(net: nn.Module) -> None:
        for p in weights(net):
            p.fill_(value)
        unbiased(net)

    return spoiled(setup, spoil)


def dead(setup: Setup, share: float) -> Setup:
    """The first ``share`` of the units of every hidden layer start at a bias far below 0."""

    def spoil(net: nn.Module) -> None:
        for m in hidden(net):
            m.bias[: round(share * len(m.bias))] = -20.0

    return spoiled(setup, spoil)


def dropped(setup: Setup, p: float) -> Setup:
    """Dropout in front of every batch norm of the network."""

    def spoil(net: nn.Module) -> None:
        for parent in list(net.modules()):
            for name, m in list(parent.named_children()):
                if isinstance(m, NORMS):
                    setattr(parent, name, nn.Sequential(nn.Dropout(p), m))

    return spoiled(setup, spoil)


class Squashed(nn.Module):
    """Outputs pushed through a function that the objective applies again."""

    def __init__(self, net: nn.Module, function: Callable[[Any], Any]) -> None:
        super().__init__()
        self.net, self.function = net, function

    def forward(self, x: Any) -> Any:
        return self.function(self.net(x))


def squashed(setup: Setup, severity: int) -> Setup:
    build, function = setup.build, (torch.sigmoid, lambda z: torch.softmax(z, -1))[severity]
    return dataclasses.replace(setup, build=lambda: Squashed(build(), function))


# --- recipes ----------------------------------------------------------------------------------------------------------
def at_rate(setup: Setup, factor: float) -> Setup:
    recipe = tuple(
        dataclasses.replace(t, rate=t.knobs()["rate"] * factor) if t.slot == "optimizer" else t for t in setup.recipe
    )
    return dataclasses.replace(setup, recipe=recipe)


def plus(setup: Setup, *entries: Technique) -> Setup:
    return dataclasses.replace(setup, recipe=(*setup.recipe, *entries))


# --- data -------------------------------------------------------------------------------------------------------------
def with_data(setup: Setup, x: Any, y: Any, rows: dict[str, Any] | None = None) -> Setup:
    data = setup.data
    rows = rows or {k: v.tolist() for k, v in data.rows.items()}
    new = Data(x, y, split=rows, name=data.name, kind=data.kind, task=data.task)
    return dataclasses.replace(setup, data=new)


def arrays(data: Data) -> tuple[Any, Any]:
    return data.inputs[0].numpy().copy(), data.y.numpy().copy()


def rescaled(setup: Setup, factor: float) -> Setup:
    """Inputs as they came, in other units."""
    x, y = arrays(setup.data)
    return plus(with_data(setup, x * np.float32(factor), y), Empty("inputs"))


def in_order(setup: Setup, noise: float) -> Setup:
    """Fit rows sorted by their target plus noise of so many standard deviations, and never shuffled."""
    x, y = arrays(setup.data)
    fit = setup.data.rows["fit"].numpy()
    key = y[fit].reshape(len(fit), -1)[:, 0].astype(float)
    key += noise * key.std() * np.random.default_rng(0).standard_normal(len(key))
    order = fit[np.argsort(key, kind="stable")]
    x[fit], y[fit] = x[order], y[order]
    return dataclasses.replace(with_data(setup, x, y), shuffle="never")


def mislabelled(setup: Setup, share: float) -> Setup:
    """The targets of a share of the fit rows change places."""
    x, y = arrays(setup.data)
    g, fit = np.random.default_rng(0), setup.data.rows["fit"].numpy()
    some = g.permutation(fit)[: round(share * len(fit))]
    y[some] = y[g.permutation(some)]
    return with_data(setup, x, y)


def in_batches(setup: Setup, batch: int, steps: int) -> Setup:
    """Other batches, for about so many steps: whole epochs."""
    per_epoch = -(-len(setup.data.rows["fit"]) // batch)
    return dataclasses.replace(setup, batch=batch, epochs=-(-steps // per_epoch))


def tiny(setup: Setup, batch: int) -> Setup:
    """Batches of a few rows, for twice as many steps."""
    n = len(setup.data.rows["fit"])
    return in_batches(setup, batch, 2 * setup.epochs * -(-n // setup.batch))


def few(setup: Setup, share: float) -> Setup:
    """A share of the fit rows (at least 12, every class among them), as many steps."""
    x, y = arrays(setup.data)
    g, fit = np.random.default_rng(0), setup.data.rows["fit"].numpy()
    order = g.permutation(fit)
    if setup.data.task == "classify":  # one of each class first
        _, first = np.unique(y[order], return_index=True)
        order = np.concatenate([order[first], np.delete(order, first)])
    kept = np.sort(order[: max(12, round(share * len(fit)))])
    rows = {k: v.tolist() for k, v in setup.data.rows.items()} | {"fit": kept.tolist()}
    batch = min(setup.batch, len(kept) // 2)
    return in_batches(with_data(setup, x, y, rows), batch, setup.epochs * -(-len(fit) // setup.batch))


def moved(setup: Setup, by: float) -> Setup:
    """Everything but fit has a third of its channels (pictures and sequences: all) moved by so many deviations."""
    x, y = arrays(setup.data)
    others = np.concatenate([v.numpy() for k, v in setup.data.rows.items() if k != "fit"])
    if x.ndim == 2:
        varied = np.flatnonzero(x.std(0) > 0)
        chosen = np.random.default_rng(0).permutation(varied)[: max(1, len(varied) // 3)]
        x[np.ix_(others, chosen)] += by * x[:, chosen].std(0)
    else:
        x[others] += by * x.std()
    return with_data(setup, x, y)


def heavy(setup: Setup) -> Setup:
    """One entry in two hundred lies eight deviations out."""
    x, y = arrays(setup.data)
    far = np.random.default_rng(0).random(x.shape) < 0.005
    return with_data(setup, np.where(far, x.mean(0) + 8 * x.std(0), x).astype(np.float32), y)


# --- odd, but healthy ---
def zero_head(setup: Setup) -> Setup:
    def spoil(net: nn.Module) -> None:
        head = [m for m in net.modules() if isinstance(m, nn.Linear)][-1]
        head.weight.zero_()
        head.bias.zero_()

    return spoiled(setup, spoil)


def zero_branches(setup: Setup) -> Setup:
    def spoil(net: nn.Module) -> None:
        for parent in net.modules():
            branches = [parent.branch] if hasattr(parent, "branch") else list(getattr(parent, "blocks", ()))
            for branch in branches:
                branch[-1].weight.zero_()  # type: ignore[union-attr]
                branch[-1].bias.zero_()  # type: ignore[union-attr]

    return spoiled(setup, spoil)


def sparse(setup: Setup) -> Setup:
    """Biases that leave two thirds of what each hidden layer puts out below 0, and so at 0 where a ReLU follows."""

    def spoil(net: nn.Module) -> None:
        def lowered(m: Any, _: Any, z: torch.Tensor) -> torch.Tensor:
            by = z.flatten()[:: -(-z.numel() // 1_000_000)].quantile(2 / 3)
            m.bias.sub_(by)
            return z - by

        handles = [m.register_forward_hook(lowered) for m in hidden(net)]
        net(prepared(setup))
        for handle in handles:
            handle.remove()

    return spoiled(setup, spoil)


@cache
def prepared(setup: Setup) -> Any:
    """Some fit rows as the network sees them."""
    member = Member(setup.resolved(), 0)
    ((techniques, _),) = group([member])
    program = make_program(setup.build, techniques, member, setup.data, Options(device="cpu", compile="never"))
    schedule = Schedule(1, setup.batch)
    return Bench(Cohort(program, [member], setup.data, schedule, Single), 0).batch.x
