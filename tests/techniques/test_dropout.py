"""Dropout against exact enumeration of all masks, torch's own arithmetic, and a step computed by hand."""

from __future__ import annotations

import copy
import pickle

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import equipoise as eq
from equipoise import techniques as T
from equipoise.data import Data
from equipoise.errors import EquipoiseError
from equipoise.plan import Member, group
from equipoise.recipe import Recipe

from ..models_of_users import Cnn, Lstm, Shared, mlp
from ..noise_support import (
    Enumerated,
    Noisy,
    OneStep,
    assert_moments,
    assert_uncorrelated,
    at,
    bound,
    noise,
    site,
)

X = torch.tensor([1.5, -2.0, 0.25, 3.0, -0.5, 1.0, 2.0, -1.0, 0.75, -3.5], dtype=torch.float64)
PLACE = site(nn.Linear(10, 2))


# --- moments ----------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("p", [0.2, 0.5, 0.9])
@pytest.mark.parametrize("reads_input", [False, True])
def test_inverted_over_all_1024_masks(p: float, reads_input: bool):
    t = bound(T.Dropout(0.3, p, where="all") if reads_input else T.Dropout(p, 0.3))
    every = Enumerated(10)
    place = site(nn.Linear(10, 2), reads_input=reads_input)
    out = t.act(X.expand(1024, 10), at(place, every))
    mean, variance = every.moments(out)
    torch.testing.assert_close(mean, X, rtol=1e-12, atol=0)
    torch.testing.assert_close(variance, p / (1 - p) * X**2, rtol=1e-10, atol=0)
    torch.testing.assert_close(mean, t.act(X[None], at(place, None))[0], rtol=1e-12, atol=0)
    kept = every.outcomes  # each row is torch's dropout with that mask
    torch.testing.assert_close(out, X * kept / (1 - p), rtol=1e-15, atol=0)


@pytest.mark.parametrize("p", [0.2, 0.5])
def test_at_test_over_all_1024_masks(p: float):
    t, every = bound(T.Dropout(p, scaling="at_test")), Enumerated(10)
    mean, variance = every.moments(t.act(X.expand(1024, 10), at(PLACE, every)))
    torch.testing.assert_close(mean, (1 - p) * X, rtol=1e-12, atol=0)
    torch.testing.assert_close(variance, p * (1 - p) * X**2, rtol=1e-10, atol=0)
    torch.testing.assert_close(t.act(X[None], at(PLACE, None))[0], mean, rtol=1e-12, atol=0)


@pytest.mark.parametrize("p", [0.1, 0.5, 0.8])
def test_drawn_masks_have_these_moments(p: float):
    out = bound(T.Dropout(p)).act(X.expand(40_000, 10), at(PLACE, noise()))
    assert_moments(out, X, p / (1 - p) * X**2)
    assert_uncorrelated(out[:, 0] != 0, out[:, 1] != 0)
    assert_uncorrelated(out[1:] != 0, out[:-1] != 0)


def test_bfloat16_units_keep_their_mean():
    """1/(1 − 0.3) is no bfloat16: rounded to one before the product it would shift every unit by 8e-4 of itself."""
    x = torch.linspace(1, 2, 4096).bfloat16()[None]
    out = bound(T.Dropout(0.3)).act(x, at(PLACE, noise()))
    exact = (x.double() / 0.7).bfloat16()
    assert out.dtype == torch.bfloat16 and 2500 < int((out != 0).sum()) < 3200
    assert torch.equal(out[out != 0], exact[out != 0])


# --- off, gradients, independence -------------------------------------------------------------------------------------
@pytest.mark.parametrize("scaling", ["inverted", "at_test"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_off_is_the_identity_bit_for_bit(scaling: str, dtype: torch.dtype):
    t = bound(T.Dropout(0, 0, scaling=scaling))
    x = torch.randn(64, 10, generator=torch.Generator().manual_seed(0)).to(dtype).requires_grad_()
    out = t.act(x, at(PLACE, noise()))
    assert out.dtype == dtype and torch.equal(out, x)
    (g,) = torch.autograd.grad(out, x, torch.arange(640.0).view(64, 10).to(dtype))
    assert torch.equal(g, torch.arange(640.0).view(64, 10).to(dtype))


class Taps(nn.Module):
    """Identity maps: what they return is what they were given. h is read by a and b, g by a again."""

    def __init__(self, n: int = 200) -> None:
        super().__init__()
        self.enc, self.a, self.b = nn.Linear(3, n), nn.Linear(n, n), nn.Linear(n, n)
        with torch.no_grad():
            self.enc.weight.zero_()
            self.enc.bias.fill_(1.0)
            for m in (self.a, self.b):
                m.weight.copy_(torch.eye(n))
                m.bias.zero_()

    def forward(self, x: Tensor) -> Tensor:
        h = self.enc(x).relu()
        return torch.cat([self.a(h), self.a(h * 1.0), self.b(h)], 1)


def test_calls_sites_and_steps_draw_independently_but_readers_of_one_tensor_agree():
    x = torch.randn(100, 3, generator=torch.Generator().manual_seed(0))
    net = Noisy(Taps(), x, T.Dropout(0.5))
    first, again, other = net(x, True).split(200, 1)
    assert set(first.unique().tolist()) == {0.0, 2.0}
    assert torch.equal(first, other), "a unit read by two maps is dropped for both"
    assert_uncorrelated(first, again)
    later, later_again, _ = net(x, True, step=1).split(200, 1)
    for a, b in ((first, later), (first, later_again), (again, later)):
        assert_uncorrelated(a, b)
    assert_uncorrelated(first, net(x, True, seed=1)[:, :200])


def test_a_dropped_unit_gives_no_gradient_to_its_weights():
    x = torch.randn(2, 6, generator=torch.Generator().manual_seed(1))
    net = Noisy(nn.Sequential(nn.Linear(6, 10), nn.Tanh(), nn.Linear(10, 3)), x, T.Dropout(0.5))
    params = {k: v.requires_grad_() for k, v in net.params.items()}
    out = net(x[:1], True)
    keep = net.noise()("Dropout/dense", 1, 0).bernoulli((1, 10), 0.5)[0]  # type: ignore[union-attr]
    w1, b1, w2 = torch.autograd.grad(out.pow(2).sum(), [params[k] for k in ("0.weight", "0.bias", "2.weight")])
    assert 0 < int(keep.sum()) < 10
    assert not w1[~keep].any() and not b1[~keep].any() and not w2[:, ~keep].any()
    assert w1[keep].all() and b1[keep].all() and w2[:, keep].all()


def test_it_arrives_in_a_training_step(table: Data):
    step = OneStep(mlp, table, T.Dropout(0.4, 0.2))

    def forward(p: dict[str, Tensor]) -> Tensor:
        def dropped(h: Tensor, rate: float, place: int) -> Tensor:
            return h * step.noise(place).bernoulli(tuple(h.shape), 1 - rate) / (1 - rate)

        h = F.linear(dropped(step.standardized, 0.2, 0), p["0.weight"], p["0.bias"]).relu()
        h = F.linear(dropped(h, 0.4, 1), p["2.weight"], p["2.bias"]).tanh()
        return F.linear(dropped(h, 0.4, 2), p["4.weight"], p["4.bias"])

    step.assert_follows(forward)


# --- options ----------------------------------------------------------------------------------------------------------
def test_chosen_units_only():
    t = bound(T.Dropout(0.5, units=(0, 3)))
    out = t.act(X.expand(2000, 10), at(PLACE, noise()))
    others = [i for i in range(10) if i not in (0, 3)]
    assert torch.equal(out[:, others], X.expand(2000, 10)[:, others])
    assert_moments(out[:, [0, 3]], X[[0, 3]], X[[0, 3]] ** 2)
    maps = torch.randn(500, 4, 5, 5).abs() + 1
    out = bound(T.Dropout(0.5, units=[2], where="all")).act(maps, at(site(nn.Conv2d(4, 1, 3), "conv"), noise()))
    assert torch.equal(out[:, [0, 1, 3]], maps[:, [0, 1, 3]]) and 0.4 < (out[:, 2] == 0).double().mean() < 0.6
    half = bound(T.Dropout(0.5, units=(0,), scaling="at_test")).act(X[None], at(PLACE, None))
    assert torch.equal(half[0], torch.cat([X[:1] / 2, X[1:]]))


@pytest.mark.parametrize("units", [(), (-1,), (1, 1), 3, (0.5,), (True,), "all"])
def test_units_that_are_none_are_refused(units: object):
    with pytest.raises(EquipoiseError, match="units is a list of different unit numbers"):
        T.Dropout(units=units)


def test_a_unit_that_is_not_there_is_refused():
    with pytest.raises(EquipoiseError, match="2 has input units 0 to 15"):
        Noisy(mlp(), torch.randn(4, 6), T.Dropout(units=(16,), where="2"))


def test_a_model_without_hidden_units_is_refused():
    x = torch.randn(4, 6)
    with pytest.raises(EquipoiseError, match="finds no hidden units"):
        Noisy(nn.Sequential(nn.Linear(6, 2)), x, T.Dropout(0.5))
    Noisy(nn.Sequential(nn.Linear(6, 2)), x, T.Dropout(0.5, 0.1))
    Noisy(nn.Sequential(nn.Linear(6, 2)), x, T.Dropout(0, 0))


def test_rates_share_a_program_but_masks_over_inputs_are_drawn_where_needed_only():
    members = [Member(Recipe(t), 0) for t in (T.Dropout(0.5), T.Dropout(0.2), T.Dropout(0.5, 0.1), T.Dropout(0.3, 0.2))]
    programs = group([*members, Member(Recipe(), 0)])
    assert [indices for _, indices in programs] == [[0, 1, 4], [2, 3]]


def test_dense_leaves_convolutions_alone_and_the_output_is_never_dropped():
    x = torch.randn(4, 2, 8, 8)
    acting = lambda *a, **k: [s.name for s in Noisy(Cnn(), x, T.Dropout(*a, **k)).net.sites if s.acts]  # noqa: E731
    assert acting() == ["fc"] and acting(where="all") == ["c2", "fc"] and acting(where="c*") == ["c2"]
    assert acting(0.5, 0.1) == ["fc"] and acting(0.5, 0.1, where="all") == ["c1", "c2", "fc"]
    net = Noisy(Cnn(), x, T.Dropout(0.99, where="all"))
    assert (net(x, True) != 0).all()


# --- the way back -----------------------------------------------------------------------------------------------------
class Grouped(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.fc = nn.Conv2d(2, 6, 3), nn.Conv2d(6, 4, 3, groups=2), nn.Linear(64, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.b(self.a(x).relu()).relu().flatten(1))


class Tied(nn.Module):
    """A map whose weights are an embedding's too, which no site shows."""

    def __init__(self) -> None:
        super().__init__()
        self.enc, self.words, self.out = nn.Linear(6, 4), nn.Embedding(3, 4), nn.Linear(4, 3, bias=False)
        self.out.weight = self.words.weight

    def forward(self, x: Tensor) -> Tensor:
        return self.out(self.enc(x).relu() + self.words(torch.zeros(len(x), dtype=torch.long)))


@pytest.mark.parametrize(
    ("build", "shape", "kept"),
    [(mlp, (6,), []), (Cnn, (2, 8, 8), []), (Grouped, (2, 8, 8), []), (Shared, (6,), ["enc", "dec"]),
     (Tied, (6,), ["out"]), (Lstm, (5, 4), ["rnn"])],
)  # fmt: skip
def test_the_expected_scaling_is_folded_exactly(build: type[nn.Module], shape: tuple[int, ...], kept: list[str]):
    x = torch.randn(8, *shape, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    units = None if build in (Tied, Shared) else (0, 1)
    for t in (T.Dropout(0.4, 0.1, "all", scaling="at_test"), T.Dropout(0.4, 0.1, "all", units, "at_test")):
        net = Noisy(build().double(), x, t)
        plain, notes = net.folded()
        torch.testing.assert_close(plain(x), net(x), rtol=1e-13, atol=1e-13)
        assert [n.split("inputs of ")[1].split(" is kept")[0] for n in notes] == kept
        assert {k: v.shape for k, v in plain.state_dict().items()} == {
            k: v.shape for k, v in net.net.original.state_dict().items()
        }
        again = pickle.loads(pickle.dumps(copy.deepcopy(plain)))
        torch.testing.assert_close(again(x), plain(x), rtol=0, atol=0)


def test_inverted_needs_no_folding():
    x = torch.randn(8, 6)
    net = Noisy(mlp(), x, T.Dropout(0.4, 0.1))
    plain, notes = net.folded()
    assert notes == [] and torch.equal(plain(x), net(x)) and torch.equal(plain(x), net.net.original.eval()(x))


def test_a_trained_run_folds_it(table: Data):
    run = eq.train(mlp, [T.Dropout(0.4, scaling="at_test"), T.SGD(0.1)], table, epochs=2, batch_size=32)
    x, _ = table.select("test")
    prepared = (x - run.const.fitted["Standardize"]["mean0"]) / run.const.fitted["Standardize"]["std0"]
    out = torch.softmax(run.model(prepared), 1).detach().numpy()
    assert abs(out - run.predict(x)).max() < 1e-6
