"""StochasticDepth: every combination of branches by hand, rates from their standard errors, and the way back."""

from __future__ import annotations

import math
from itertools import product
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import equipoise as eq
from equipoise import techniques as T
from equipoise.errors import EquipoiseError
from equipoise.techniques.noise.stochastic_depth import StochasticDepth

from ..rig import Rig

F64 = torch.float64


class Net(nn.Module):
    """Three residual branches that end in a Linear, a BatchNorm1d of the user's own, and a ReLU."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.head = nn.Linear(3, 4), nn.Linear(4, 2)
        self.a = nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 4))
        self.b, self.norm = nn.Linear(4, 4), nn.BatchNorm1d(4)
        self.c, self.act = nn.Linear(4, 4), nn.ReLU()

    def with_branches(self, x: Tensor, s: Any) -> Tensor:
        h = torch.tanh(self.stem(x))
        h = torch.tanh(h + s[0] * self.a(h))
        h = h + s[1] * self.norm(self.b(h))
        h = h + s[2] * self.act(self.c(h))
        return self.head(h)

    def forward(self, x: Tensor) -> Tensor:
        h = torch.tanh(self.stem(x))
        h = torch.tanh(h + self.a(h))
        h = h + self.norm(self.b(h))
        h = h + self.act(self.c(h))
        return self.head(h)


def rig(t: StochasticDepth, *others: Any) -> tuple[Rig, Net, Tensor]:
    torch.manual_seed(0)
    model, x = Net().double(), torch.randn(7, 3, dtype=F64)
    return Rig(model, x, t, *others), model, x


KEEPS = {"linear": (1 - 0.5 / 3, 1 - 1.0 / 3, 0.5), "constant": (0.5, 0.5, 0.5)}


def test_the_branches_are_found_in_order() -> None:
    r, _, _ = rig(StochasticDepth())
    assert StochasticDepth().branches(r.net) == {"a.2": {0: 1}, "norm": {0: 2}, "act": {0: 3}}


@pytest.mark.parametrize("scaling", ["inverted", "at_test"])
@pytest.mark.parametrize("rule", KEEPS)
def test_every_combination_of_branches_is_one_of_eight(rule: str, scaling: str) -> None:
    """What a step computes is H = x + b F(x), or b F(x)/keep, for one of the 2³ combinations; all of them occur."""
    r, model, x = rig(StochasticDepth(rule=rule, scaling=scaling))
    scale = [1 / k if scaling == "inverted" else 1.0 for k in KEEPS[rule]]
    combinations = {
        b: model.with_branches(x, [i * s for i, s in zip(b, scale, strict=True)]) for b in product((0, 1), repeat=3)
    }
    seen: dict[Any, int] = dict.fromkeys(combinations, 0)
    n = 400
    for step in range(n):
        out, _ = r.run(r.params, r.buffers, x, noise=r.noise(1, step))
        hits = [b for b, expected in combinations.items() if torch.allclose(out, expected, rtol=0, atol=1e-12)]
        assert len(hits) == 1
        seen[hits[0]] += 1
    for branch, keep in enumerate(KEEPS[rule]):
        kept = sum(c for b, c in seen.items() if b[branch]) / n
        assert abs(kept - keep) < 5 * math.sqrt(keep * (1 - keep) / n)
    for b, count in seen.items():  # independent of each other
        p = math.prod(k if i else 1 - k for i, k in zip(b, KEEPS[rule], strict=True))
        assert abs(count / n - p) < 5 * math.sqrt(p * (1 - p) / n)


def test_per_example_each_row_draws_for_itself() -> None:
    t = StochasticDepth(p_last=0.3, per="example", rule="constant")
    r, _, _ = rig(t)
    key, out = next(iter(r.techniques)), torch.full((20_000, 3, 2), 2.0, dtype=F64)
    got = t.branch(out, 1, 3, r.noise(5)(key, 0x8001, 0))
    per_row = got[:, 0, 0]
    assert torch.equal(got, per_row[:, None, None].expand_as(got))
    assert per_row.unique().tolist() == pytest.approx([0, 2 / 0.7], rel=1e-6)
    kept = float((per_row > 0).double().mean())
    assert abs(kept - 0.7) < 5 * math.sqrt(0.21 / 20_000)
    assert abs(float(got.mean()) - 2) < 5 * 2 * math.sqrt(0.3 / 0.7 / 20_000)  # E[b F/keep] = F
    half = t.branch(out[:10_000], 1, 3, r.noise(5, row0=10_000)(key, 0x8001, 0))
    assert torch.equal(half, got[10_000:])  # rows are counted over all ranks


def test_per_batch_all_ranks_draw_alike() -> None:
    r, _, x = rig(StochasticDepth(0.9))
    for step in range(5):
        whole, _ = r.run(r.params, r.buffers, x, training=False, noise=r.noise(5, step))
        half, _ = r.run(r.params, r.buffers, x[3:], training=False, noise=r.noise(5, step, row0=3))
        torch.testing.assert_close(half, whole[3:], rtol=0, atol=1e-14)


def test_off_is_the_plain_network_bit_for_bit() -> None:
    for per in ("batch", "example"):
        r, _, x = rig(StochasticDepth(per=per).switched_off())
        plain = Rig(r.net.original, x)
        assert torch.equal(r(x, noise=r.noise(1)), plain(x))
        grads = [g.gradients(x, lambda out: out.square().sum(), noise=r.noise(1)) for g in (r, plain)]
        assert all(torch.equal(grads[0][k], v) for k, v in grads[1].items())


def test_a_branch_that_is_left_out_gets_no_gradient() -> None:
    r, _, x = rig(StochasticDepth(0.7))
    seen = set()
    for step in range(40):
        grads = r.gradients(x, lambda out: out.square().sum(), noise=r.noise(2, step))
        seen |= {(n, bool(grads[n].any())) for n in ("a.0.weight", "b.weight", "c.weight")}
    assert seen == set(product(("a.0.weight", "b.weight", "c.weight"), (True, False)))


def test_stacked_equals_alone() -> None:
    r, _, x = rig(StochasticDepth(per="example"))
    bound = {k: t.bind({"p_last": torch.tensor(0.5, dtype=F64)}) for k, t in r.techniques.items()}
    r.techniques = bound
    both = {k: torch.stack([v, 2 * v]) for k, v in r.params.items()}
    out = torch.vmap(lambda p: r.run(p, r.buffers, x, noise=r.noise(7))[0])(both)
    for i in range(2):
        alone = r.run({k: v[i] for k, v in both.items()}, r.buffers, x, noise=r.noise(7))[0]
        torch.testing.assert_close(out[i], alone, rtol=0, atol=1e-12)


# --- the way back -----------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("rule", KEEPS)
def test_at_test_the_expectation_is_folded(rule: str) -> None:
    """x + keep_l F(x), into the weights of the Linear and the own BatchNorm, in a hook behind the ReLU."""
    r, model, x = rig(StochasticDepth(rule=rule, scaling="at_test"))
    model.eval()
    expected = model.with_branches(x, KEEPS[rule])
    torch.testing.assert_close(r(x, training=False), expected, rtol=0, atol=1e-12)
    plain, notes = r.folded()
    torch.testing.assert_close(plain(x), expected, rtol=0, atol=1e-12)
    assert notes == [
        "StochasticDepth scales the output of act by 0.5 in a hook: its last layer has no weights of its own."
    ]
    torch.testing.assert_close(plain.a[2].bias, KEEPS[rule][0] * model.a[2].bias)  # type: ignore[union-attr,index,operator]
    torch.testing.assert_close(plain.norm.bias, KEEPS[rule][1] * model.norm.bias)  # type: ignore[union-attr,operator]


def test_inverted_predicts_the_plain_network() -> None:
    r, model, x = rig(StochasticDepth())
    plain, notes = r.folded()
    assert not notes
    torch.testing.assert_close(r(x, training=False), model.eval()(x), rtol=0, atol=1e-14)
    torch.testing.assert_close(plain(x), model(x), rtol=0, atol=0)


class Odd(nn.Module):
    """Branches that end in tied, frozen and repeated maps."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.one, self.tied, self.frozen, self.twice = (nn.Linear(3, 3) for _ in range(5))
        self.tied.weight = self.one.weight
        self.frozen.requires_grad_(False)
        self.head = nn.Linear(3, 2)

    def forward(self, x: Tensor) -> Tensor:
        h = torch.tanh(self.stem(x))
        for f in (self.one, self.tied, self.frozen, self.twice, self.twice):
            h = torch.tanh(h + f(h))
        return self.head(h)


@pytest.mark.parametrize("others", [(), (T.BatchNorm(),), (T.LayerNorm(),)])
@pytest.mark.parametrize("first", [True, False])
def test_folding_is_exact_where_weights_are_shared_frozen_or_normalized(others: tuple[Any, ...], first: bool) -> None:
    """In either order of the recipe: what scales stands behind what normalizes."""
    torch.manual_seed(0)
    model, x = Odd().double(), torch.randn(9, 3, dtype=F64)
    t = StochasticDepth(rule="constant", scaling="at_test")
    r = Rig(model, x, *((t, *others) if first else (*others, t)))
    for step in range(3):
        r.descend(x + step, lambda out: out.square().mean())
    plain, notes = r.folded()
    torch.testing.assert_close(plain(x), r(x, training=False), rtol=0, atol=1e-12)
    assert sum("in a hook" in n for n in notes) == (4 if others else 3)  # twice alone takes its factor in
    assert torch.equal(plain.frozen.weight, model.frozen.weight)  # type: ignore[union-attr,arg-type]


def test_a_module_that_ends_two_branches_draws_for_each() -> None:
    torch.manual_seed(0)
    model, x = Odd().double(), torch.randn(9, 3, dtype=F64)
    t = StochasticDepth(where="twice")
    assert t.branches(Rig(model, x).net) == {"twice": {0: 1, 1: 2}}
    r = Rig(model, x, t)
    h = torch.tanh(model.stem(x))
    for f in (model.one, model.tied, model.frozen):
        h = torch.tanh(h + f(h))
    key = next(iter(r.techniques))
    for step in range(8):
        noise, g = r.noise(3, step), h
        for level, keep in ((1, 0.75), (2, 0.5)):
            b = noise(key, 0x8000 + level, 0).bernoulli((1, 1), keep, shared=True).double() / keep
            g = torch.tanh(g + b * model.twice(g))
        torch.testing.assert_close(r(x, noise=noise), model.head(g), rtol=0, atol=1e-12)
    with pytest.raises(EquipoiseError, match="twice is called 2 times"):
        Rig(model, x, StochasticDepth(scaling="at_test"))


class Hidden(nn.Module):
    """A branch behind a function: no module's output is added, and the shortcut is the network's input."""

    def __init__(self) -> None:
        super().__init__()
        self.branch, self.head = nn.Linear(3, 3), nn.Linear(3, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(x + F.relu(self.branch(x)))


def test_where_names_a_branch_that_was_not_found() -> None:
    torch.manual_seed(0)
    model, x = Hidden().double(), torch.randn(5, 3, dtype=F64)
    with pytest.raises(EquipoiseError, match="finds no residual branch"):
        Rig(model, x, StochasticDepth())
    r = Rig(model, x, StochasticDepth(where="branch"))
    outs = {tuple(r(x, noise=r.noise(1, s)).flatten().tolist()) for s in range(30)}
    expected = [model.head(x), model.head(x + F.relu(2 * model.branch(x)))]
    assert len(outs) == 2
    for e in expected:
        assert any(torch.allclose(torch.tensor(o, dtype=F64), e.flatten(), rtol=0, atol=1e-12) for o in outs)


def test_branches_inside_a_transformer_can_be_named() -> None:
    """They end in the layer's own Dropout modules, which keep their own draws."""
    layer = nn.TransformerEncoderLayer(8, 2, 16, dropout=0.1, batch_first=True)
    model = nn.Sequential(nn.Linear(4, 8), layer, nn.Flatten(), nn.Linear(24, 2))
    x = torch.randn(5, 3, 4)
    t = StochasticDepth(where=("1.dropout2", "1.dropout1"), per="example")
    r = Rig(model, x, t)
    assert t.branches(r.net) == {"1.dropout1": {0: 1}, "1.dropout2": {0: 2}}
    assert not torch.equal(r(x, noise=r.noise(1)), r(x, noise=r.noise(2)))


@pytest.mark.parametrize(
    ("t", "text"),
    [
        ((StochasticDepth(where="b*"), StochasticDepth(where="nothing")), r"'nothing' names no module.*: a\.2, norm"),
        ((StochasticDepth(), StochasticDepth(where="act")), "both leave out the branch that ends in act"),
    ],
)  # fmt: skip
def test_refusals_say_what_to_do(t: Any, text: str) -> None:
    with pytest.raises(EquipoiseError, match=text) as e:
        rig(*t)
    assert "\n" not in str(e.value)


def test_range_of_p_last() -> None:
    with pytest.raises(EquipoiseError, match=r"p_last must lie in \[0, 1\), default 0.5. p_last=0 switches it off"):
        StochasticDepth(1.0)


# --- in training ------------------------------------------------------------------------------------------------------
class Images(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem, self.head = nn.Conv2d(2, 4, 3, padding=1), nn.Linear(4, 3)
        self.f = nn.ModuleList(
            nn.Sequential(nn.Conv2d(4, 4, 3, padding=1), nn.ReLU(), nn.Conv2d(4, 4, 3, padding=1)) for _ in range(2)
        )

    def forward(self, x: Tensor) -> Tensor:
        h = F.relu(self.stem(x))
        for f in self.f:
            h = F.relu(h + f(h))
        return self.head(h.mean((2, 3)))


def test_trains_alone_and_in_a_cohort(images: Any) -> None:
    arms = [eq.Recipe(StochasticDepth(p, scaling="at_test"), T.BatchNorm(), T.Adam(0.02)) for p in (0.0, 0.6)]
    options = eq.Options(precision="float64")
    many = eq.train_many(Images, arms, images, seeds=[1, 1], epochs=4, batch_size=16, options=options)
    assert many[0].program is many[1].program
    assert not torch.equal(many[0].state["params"]["stem.weight"], many[1].state["params"]["stem.weight"])
    for recipe, run in zip(arms, many, strict=True):
        alone = eq.train(Images, recipe, images, seed=1, epochs=4, batch_size=16, options=options)
        for k, v in alone.state["params"].items():
            torch.testing.assert_close(run.state["params"][k], v, rtol=0, atol=1e-9)
        x = images.x[images.rows["test"]]
        prepared = run.program.objective.prepare(x.double(), run.program.by_key, run.const.fitted)
        np.testing.assert_allclose(run.predict(x), torch.softmax(run.model(prepared), -1).detach().numpy(), atol=1e-10)
    draws = [many[1].predict(x, samples=n) for n in (1, 2)]
    assert np.abs(draws[0] - draws[1]).max() > 1e-4  # Monte-Carlo prediction draws branches
