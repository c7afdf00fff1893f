"""FractionalMaxPool: regions in exact arithmetic, the maximum by brute force, PyTorch's pooling at its limits."""

from __future__ import annotations

import copy
import math
import pickle
from collections import Counter
from fractions import Fraction
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from scipy import stats
from torch import Tensor, nn

import equipoise as eq
from equipoise import techniques as T
from equipoise.errors import EquipoiseError
from equipoise.rng import Noise, source
from equipoise.techniques.noise._regions import (
    UNIT,
    FixedFractionalMaxPool2d,
    edges_of,
    pool,
    pseudorandom_edges,
    random_edges,
    regions_out,
)
from equipoise.techniques.noise.fractional_max_pool import FractionalMaxPool

from ..rig import Rig

F64 = torch.float64
ROOT2 = 2**0.5


class Net(nn.Module):
    """Two pooling layers and a head that takes any size."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Conv2d(2, 4, 3, padding=1), nn.Conv2d(4, 5, 3, padding=1)
        self.first, self.second, self.head = nn.MaxPool2d(2), nn.AvgPool2d(2), nn.Linear(5, 3)

    def forward(self, x: Tensor) -> Tensor:
        h = self.first(F.relu(self.a(x)))
        return self.head(self.second(torch.tanh(self.b(h))).mean((2, 3)))


class Indexed(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.pool = nn.MaxPool2d(2, return_indices=True)

    def forward(self, x: Tensor) -> Tensor:
        return self.pool(x)[0]


def rig(t: FractionalMaxPool, size: int = 9) -> tuple[Rig, Net, Tensor]:
    torch.manual_seed(0)
    model, x = Net().double(), torch.randn(4, 2, size, size + 2, dtype=F64)
    return Rig(model, x, t), model, x


# --- regions ----------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("overlapping", [False, True])
@pytest.mark.parametrize("alpha", [1.01, 1.25, ROOT2, 1.9, 1.999])
def test_steps_are_one_or_two_and_reach_from_end_to_end(alpha: float, overlapping: bool) -> None:
    for n in range(2, 40):
        out, span = regions_out(n, alpha, overlapping), n - overlapping
        low, high = math.ceil(span / 2), span
        assert out == min(max(math.floor(n / alpha), low), high)
        drawn = [random_edges(n, alpha, overlapping, source(n, "edges", k)) for k in range(3)]
        for edges in (*drawn, *(pseudorandom_edges(n, alpha, overlapping, d) for d in (0, 1, UNIT // 2, UNIT - 1))):
            assert len(edges) == out + 1 and edges[0] == 0 and edges[-1] == span
            assert set(edges.diff().tolist()) <= {1, 2}


def test_pseudorandom_edges_are_the_formula_in_exact_arithmetic() -> None:
    """a_i = ⌈α(i + u)⌉ − ⌈αu⌉ with α = span/regions, for fractions."""
    for n, alpha in ((14, 1.3), (29, ROOT2), (64, 1.7)):
        out = regions_out(n, alpha, False)
        ratio = Fraction(n, out)
        for draw in (0, 5, 1234567, UNIT // 3, UNIT - 1):
            u = Fraction(draw, UNIT)
            expected = [math.ceil(ratio * (i + u)) - math.ceil(ratio * u) for i in range(out + 1)]
            assert pseudorandom_edges(n, alpha, False, torch.tensor([draw])).tolist() == expected
            assert pseudorandom_edges(n, alpha, False, draw).tolist() == expected


def test_random_edges_take_every_order_of_steps_equally_often() -> None:
    """7 pixels to 4 regions: C(4, 3) = 4 orders of three twos and a one; 9 to 6: C(6, 3) = 20. χ² does not object."""
    keys = torch.stack([source(1, "edges").bits((4000,)), source(2, "edges").bits((4000,))], -1)
    for n, alpha, orders in ((7, 1.6, 4), (9, ROOT2, 20)):
        drawn = torch.vmap(lambda k, n=n, a=alpha: random_edges(n, a, False, Noise(k)))(keys)
        seen = Counter(map(tuple, drawn.tolist()))
        assert len(seen) == orders
        assert stats.chisquare(list(seen.values())).pvalue > 1e-6


@pytest.mark.parametrize("overlapping", [False, True])
def test_the_maximum_of_every_region_and_its_gradient(overlapping: bool) -> None:
    """Brute force over rows and columns; each output's gradient goes to its own maximum."""
    x = torch.randn(2, 3, 9, 7, dtype=F64, requires_grad=True)
    rows = random_edges(9, ROOT2, overlapping, source(3, "rows"))
    columns = random_edges(7, ROOT2, overlapping, source(3, "columns"))
    assert {1, 2} == set(rows.diff().tolist()) == set(columns.diff().tolist())
    last = int(overlapping)
    expected = torch.stack(
        [
            torch.stack([x[..., a : b + last, c : d + last].amax((-2, -1)) for c, d in pairwise(columns.tolist())], -1)
            for a, b in pairwise(rows.tolist())
        ],
        -2,
    )
    out = pool(x, rows, columns, overlapping)
    assert torch.equal(out, expected)
    weights = torch.randn_like(out)
    grads = [torch.autograd.grad(o, x, weights)[0] for o in (out, expected)]
    torch.testing.assert_close(grads[0], grads[1], rtol=0, atol=1e-14)


def test_steps_of_two_are_pytorchs_pooling() -> None:
    x = torch.randn(2, 3, 8, 8)
    two = edges_of(torch.full((4,), 2))
    assert torch.equal(pool(x, two, two, False), F.max_pool2d(x, 2))
    x = torch.randn(2, 3, 9, 9)
    assert torch.equal(pool(x, two, two, True), F.max_pool2d(x, 3, 2))
    one = edges_of(torch.full((8,), 1))
    assert torch.equal(pool(x, one, one, True), F.max_pool2d(x, 2, 1))


# --- in a network -----------------------------------------------------------------------------------------------------
def by_hand(model: Net, x: Tensor, edges: Any) -> Tensor:
    """``edges``: (rows, columns) of the first layer, then of the second."""
    h = pool(F.relu(model.a(x)), *edges[0], overlapping=False)
    return model.head(pool(torch.tanh(model.b(h)), *edges[1], overlapping=False).mean((2, 3)))


@pytest.mark.parametrize("sequence", ["random", "pseudorandom"])
def test_a_pass_draws_regions_for_the_whole_batch(sequence: str) -> None:
    t = FractionalMaxPool(sequence=sequence)
    r, model, x = rig(t)
    key, outs = t.key, []
    for step in range(4):
        noise, edges = r.noise(1, step), []
        for place, size in ((0x8000, (9, 11)), (0x8001, (6, 7))):
            draw = noise(key, place, 0)
            if sequence == "random":
                edges.append([random_edges(n, ROOT2, False, draw) for n in size])
            else:
                u = [(draw.uniform((1,)) * UNIT).long() for _ in size]
                edges.append([pseudorandom_edges(n, ROOT2, False, v) for n, v in zip(size, u, strict=True)])
        outs.append(r(x, noise=noise))
        torch.testing.assert_close(outs[-1], by_hand(model, x, edges), rtol=0, atol=1e-14)
        half = r(x[2:], noise=r.noise(1, step, row0=2))  # a rank that has the second half draws the same regions
        torch.testing.assert_close(half, outs[-1][2:], rtol=0, atol=1e-14)
    assert len({tuple(o.flatten().tolist()) for o in outs}) > 2


def test_prediction_uses_fixed_regions_and_so_does_the_plain_model() -> None:
    r, model, x = rig(FractionalMaxPool())
    edges = [[pseudorandom_edges(n, ROOT2, False, UNIT // 2) for n in size] for size in ((9, 11), (6, 7))]
    expected = by_hand(model, x, edges)
    torch.testing.assert_close(r(x, training=False), expected, rtol=0, atol=1e-14)
    plain, notes = r.folded()
    assert notes == ["FractionalMaxPool stands in place of first, second, with fixed regions."]
    assert list(plain.state_dict()) == list(model.state_dict()) and type(plain) is Net
    assert type(plain.first) is FixedFractionalMaxPool2d and "alpha=1.41421" in repr(plain.first)
    exported: Any = torch.export.export(plain, (x,)).module()
    for m in (plain, copy.deepcopy(plain), pickle.loads(pickle.dumps(plain)), exported):
        torch.testing.assert_close(m(x), expected, rtol=0, atol=1e-14)


def test_chosen_layers_and_the_names_a_layer_goes_by() -> None:
    r, model, x = rig(FractionalMaxPool(where="first", regions="overlapping", alpha=1.5))
    plain, _ = r.folded()
    assert type(plain.first) is FixedFractionalMaxPool2d and type(plain.second) is nn.AvgPool2d
    edges = [pseudorandom_edges(n, 1.5, True, UNIT // 2) for n in (9, 11)]
    h = pool(F.relu(model.a(x)), *edges, overlapping=True)
    expected = model.head(F.avg_pool2d(torch.tanh(model.b(h)), 2).mean((2, 3)))
    for out in (r(x, training=False), plain(x)):
        torch.testing.assert_close(out, expected, rtol=0, atol=1e-14)


def test_a_layer_called_twice_draws_for_each_call() -> None:
    torch.manual_seed(0)
    shared = nn.MaxPool2d(2)
    model = nn.Sequential(shared, shared, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(2, 2)).double()
    x = torch.randn(3, 2, 16, 16, dtype=F64)
    t = FractionalMaxPool()
    r = Rig(model, x, t)
    noise, h = r.noise(4), x
    for call, size in ((0, 16), (1, 11)):
        draw = noise(t.key, 0x8000, call)
        h = pool(h, *(random_edges(size, ROOT2, False, draw) for _ in range(2)), overlapping=False)
    torch.testing.assert_close(r(x, noise=noise), model[2:](h), rtol=0, atol=1e-14)
    plain, _ = r.folded()
    torch.testing.assert_close(plain(x), r(x, training=False), rtol=0, atol=1e-14)


@pytest.mark.parametrize("sequence", ["random", "pseudorandom"])
def test_stacked_equals_alone(sequence: str) -> None:
    """Under vmap every run has regions of its own."""
    t = FractionalMaxPool(sequence=sequence, regions="overlapping")
    r, _, x = rig(t)
    rows = [r.net.entries[t.key, 0x8000 + k, 0] for k in range(2)]

    def keyed(keys: Tensor) -> Any:
        return lambda who, site, call: Noise(keys[rows.index(r.net.entries[who, site, call])]) if who == t.key else None

    keys = torch.randint(-(2**31), 2**31 - 1, (3, 2, 2), generator=torch.Generator().manual_seed(0)).to(torch.int32)
    both = {k: torch.stack([v, 2 * v, -v]) for k, v in r.params.items()}
    together = torch.vmap(lambda p, k: r.run(p, r.buffers, x, noise=keyed(k))[0])(both, keys)
    for i in range(3):
        alone = r.run({k: v[i] for k, v in both.items()}, r.buffers, x, noise=keyed(keys[i]))[0]
        torch.testing.assert_close(together[i], alone, rtol=0, atol=1e-12)


def flat(*layers: nn.Module, width: int) -> nn.Module:
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(width, 2))


CONV = nn.Conv2d(2, 3, 3)


@pytest.mark.parametrize(
    ("model", "t", "text"),
    [
        (flat(CONV, nn.MaxPool2d(2), width=27), {}, r"changes the sizes.*AdaptiveAvgPool2d"),
        (flat(CONV, width=108), {}, "finds no MaxPool2d or AvgPool2d"),
        (flat(CONV, nn.MaxPool2d(2), width=27), {"where": "0"}, r"'0' names no pooling layer.*There are: 1"),
        (flat(nn.Conv2d(2, 3, 8), nn.AvgPool2d(1), width=3), {"regions": "overlapping"}, "of 1 pixel: overlapping"),
        (flat(CONV, Indexed(), width=27), {}, "1.pool returns indices"),
    ],
)
def test_refusals_say_what_to_do(model: nn.Module, t: dict[str, Any], text: str) -> None:
    with pytest.raises(EquipoiseError, match=text) as e:
        Rig(model, torch.randn(3, 2, 8, 8), FractionalMaxPool(**t))
    assert "\n" not in str(e.value)


def test_more_refusals() -> None:
    for alpha in (1.0, 2.0, True, "2"):
        with pytest.raises(EquipoiseError, match="alpha lies between 1 and 2"):
            FractionalMaxPool(alpha)  # type: ignore[arg-type]
    with pytest.raises(EquipoiseError, match="first is replaced by another entry"):
        Rig(Net(), torch.randn(3, 2, 9, 9), FractionalMaxPool(), FractionalMaxPool(where="first"))


# --- in training ------------------------------------------------------------------------------------------------------
def test_trains_in_a_cohort_and_averages_over_regions(images: Any) -> None:
    """A cohort equals its members alone; Monte-Carlo prediction is the mean over drawn regions."""
    recipe, options = eq.Recipe(FractionalMaxPool(), T.Adam(0.02)), eq.Options(precision="float64")
    many = eq.train_many(Net, [recipe] * 2, images, seeds=[1, 2], epochs=3, batch_size=16, options=options)
    for seed, run in zip((1, 2), many, strict=True):
        alone = eq.train(Net, recipe, images, seed=seed, epochs=3, batch_size=16, options=options)
        for k, v in alone.state["params"].items():
            torch.testing.assert_close(run.state["params"][k], v, rtol=0, atol=1e-9)
    run, x = many[0], images.x[images.rows["test"]]
    assert run.history[-1]["stop_loss"] < run.history[0]["stop_loss"]
    prepared = run.program.objective.prepare(x.double(), run.program.by_key, run.const.fitted)
    np.testing.assert_allclose(run.predict(x), torch.softmax(run.model(prepared), -1).detach().numpy(), atol=1e-12)
    draws = run.predictor.draws(x, 6)
    assert all(float((a - b).abs().max()) > 1e-6 for a, b in pairwise(draws))
    np.testing.assert_allclose(run.predict(x, samples=6), draws.mean(0).numpy(), atol=1e-14)
