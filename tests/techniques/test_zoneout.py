"""Zoneout: PyTorch's own layers at z = 0, and its single-step cells with states kept by hand otherwise."""

from __future__ import annotations

import copy
import math
import pickle
from itertools import product
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import equipoise as eq
from equipoise import techniques as T
from equipoise.errors import EquipoiseError
from equipoise.techniques.noise._zoned_cells import FixedZones, zoned
from equipoise.techniques.noise.zoneout import Zoneout

from ..rig import Rig

F64 = torch.float64
LAYERS = {
    "rnn": lambda **k: nn.RNN(3, 4, **k),
    "relu": lambda **k: nn.RNN(3, 4, nonlinearity="relu", **k),
    "gru": lambda **k: nn.GRU(3, 4, **k),
    "lstm": lambda **k: nn.LSTM(3, 4, **k),
}
SHAPES: list[dict[str, Any]] = [
    {}, {"batch_first": True}, {"num_layers": 2}, {"bidirectional": True}, {"bias": False},
    {"num_layers": 3, "bidirectional": True, "batch_first": True},
]  # fmt: skip


class Model(nn.Module):
    """A recurrent layer whose whole output is read."""

    def __init__(self, rnn: Any) -> None:
        super().__init__()
        width = (rnn.proj_size or rnn.hidden_size) * (2 if rnn.bidirectional else 1)
        self.rnn, self.fc = rnn, nn.Linear(width, 2)

    def forward(self, x: Tensor) -> Tensor:
        out, _ = self.rnn(x if self.rnn.batch_first else x.transpose(0, 1))
        return self.fc(out if self.rnn.batch_first else out.transpose(0, 1)).sum(1)


def rig(kind: str, t: Zoneout, seed: int = 0, **shape: Any) -> tuple[Rig, Tensor]:
    torch.manual_seed(seed)
    model, x = Model(LAYERS[kind](**shape)).double(), torch.randn(5, 6, 3, dtype=F64)
    return Rig(model, x, t), x


def leaves(out: Any) -> list[Tensor]:
    return torch.utils._pytree.tree_leaves(out)


# --- z = 0 is PyTorch -------------------------------------------------------------------------------------------------
PROJECTED = {"proj_size": 2, "num_layers": 2, "bidirectional": True}


@pytest.mark.parametrize(("kind", "shape"), [*product(LAYERS, SHAPES), ("lstm", PROJECTED)])
def test_at_z_0_it_is_the_layer_it_was(kind: str, shape: dict[str, Any]) -> None:
    """Outputs, last states and all gradients, with and without start states, batched or not."""
    torch.manual_seed(1)
    theirs = LAYERS[kind](**shape).double()
    mine = copy.deepcopy(theirs)
    mine.__class__ = zoned(type(theirs))
    mine.zones = FixedZones(0.0, 0.0)
    cells = theirs.num_layers * (1 + theirs.bidirectional)
    start = [torch.randn(cells, 5, n, dtype=F64) for n in (theirs.proj_size or 4, 4)]
    x = torch.randn(5, 6, 3, dtype=F64) if theirs.batch_first else torch.randn(6, 5, 3, dtype=F64)
    one = [s[:, 0] for s in start]
    for v, hx in ((x, None), (x, start), (x[0] if theirs.batch_first else x[:, 0], one)):
        state = hx if hx is None else (tuple(hx) if kind == "lstm" else hx[0])
        results = []
        for layer in (theirs, mine):
            out = leaves(layer(v, state))
            loss = sum((o.square() * torch.arange(o.numel(), dtype=F64).view_as(o)).sum() for o in out)
            results.append([*out, *torch.autograd.grad(loss, list(layer.parameters()))])
        for expected, got in zip(*results, strict=True):
            assert got.shape == expected.shape
            torch.testing.assert_close(
                got, expected, rtol=0, atol=1e-10 * max(1.0, float(expected.detach().abs().max()))
            )


def test_dropout_between_layers_draws_as_pytorch_does() -> None:
    torch.manual_seed(1)
    theirs = nn.LSTM(3, 4, num_layers=3, dropout=0.5, bidirectional=True).double()
    mine = copy.deepcopy(theirs)
    mine.__class__ = zoned(nn.LSTM)
    mine.zones = FixedZones(0.0, 0.0)  # type: ignore[assignment]
    x = torch.randn(6, 5, 3, dtype=F64)
    torch.manual_seed(2)
    expected = theirs(x)[0]
    torch.manual_seed(2)
    torch.testing.assert_close(mine(x)[0], expected, rtol=0, atol=1e-12)
    torch.testing.assert_close(mine.eval()(x)[0], theirs.eval()(x)[0], rtol=0, atol=1e-12)


@pytest.mark.parametrize("kind", LAYERS)
def test_off_trains_as_without(kind: str) -> None:
    on, x = rig(kind, Zoneout().switched_off(), num_layers=2)
    plain = Rig(on.net.original, x)
    noise = on.noise(3)
    torch.testing.assert_close(on(x, noise=noise), plain(x), rtol=0, atol=1e-12)
    grads, own = (r.gradients(x, lambda out: out.square().sum(), noise=noise) for r in (on, plain))
    assert list(grads) == list(own)
    for k, g in own.items():
        torch.testing.assert_close(grads[k], g, rtol=0, atol=1e-10 * max(1.0, float(g.abs().max())))


# --- states kept by hand ----------------------------------------------------------------------------------------------
def by_cells(m: Any, x: Tensor, keep_h: Tensor, keep_c: Tensor) -> Tensor:
    """PyTorch's single-step cells, x (B, T, F); keep (B, cells, T, H) is d in training, z everywhere in prediction."""
    make: Any = {"LSTM": nn.LSTMCell, "GRU": nn.GRUCell}.get(m.mode, nn.RNNCell)
    extra = {"nonlinearity": m.mode.split("_")[1].lower()} if make is nn.RNNCell else {}
    directions = 2 if m.bidirectional else 1
    for layer in range(m.num_layers):
        outputs = []
        for back in range(directions):
            suffix, k = f"_l{layer}{'_reverse' if back else ''}", layer * directions + back
            cell = make(x.shape[-1], m.hidden_size, m.bias, dtype=F64, **extra)
            cell.load_state_dict({n: getattr(m, n + suffix) for n, _ in cell.named_parameters()})
            h = c = torch.zeros(len(x), m.hidden_size, dtype=F64)
            out = torch.zeros(len(x), x.shape[1], m.hidden_size, dtype=F64)
            for t in reversed(range(x.shape[1])) if back else range(x.shape[1]):
                new = cell(x[:, t], (h, c)) if m.mode == "LSTM" else cell(x[:, t], h)
                new_h, new_c = new if m.mode == "LSTM" else (new, c)
                dh, dc = keep_h[:, k, t], keep_c[:, k, t]
                h, c = dh * h + (1 - dh) * new_h, dc * c + (1 - dc) * new_c
                out[:, t] = h
            outputs.append(out)
        x = torch.cat(outputs, -1)
    return x


@pytest.mark.parametrize("shared", [False, True])
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("kind", LAYERS)
def test_equals_cells_with_states_kept_by_hand(kind: str, shape: dict[str, Any], shared: bool) -> None:
    """Training with the draws of this step; prediction with z in the place of d."""
    r, x = rig(kind, Zoneout(z_cell=0.4, z_hidden=0.25, shared_mask=shared), **shape)
    key, m = next(iter(r.techniques)), r.net.original.rnn
    cells = m.num_layers * (1 + m.bidirectional)
    source = r.noise(7)
    draw = source(key, r.net.sites[0].index, 0)
    u = draw.uniform((5, cells, 6, 4))
    v = u if shared or kind != "lstm" else draw.uniform((5, cells, 6, 4))
    d_h, d_c = (u < 0.25).double(), (v < 0.4).double()
    fc = r.net.original.fc
    expected = fc(by_cells(m, x, d_h, d_c)).sum(1)
    torch.testing.assert_close(r(x, noise=source), expected, rtol=0, atol=1e-12)
    constant = [torch.full_like(d_h, z) for z in (0.25, 0.4)]
    expected = fc(by_cells(m, x, *constant)).sum(1)
    torch.testing.assert_close(r(x, training=False), expected, rtol=0, atol=1e-12)


def states(z_cell: float, z_hidden: float, rows: int = 4000, shared: bool = False) -> tuple[Any, ...]:
    """One step of an LSTM from random states: (h, c) before, h̃ and c̃, (h′, c′) for one draw."""
    torch.manual_seed(0)
    m = nn.LSTM(3, 4, batch_first=True).double()
    r = Rig(Model(m).double(), torch.randn(2, 1, 3, dtype=F64), Zoneout(z_cell, z_hidden, shared_mask=shared))
    layer: Any = r.net.module.rnn
    start = [torch.randn(1, rows, 4, dtype=F64) for _ in range(2)]
    x = torch.randn(rows, 1, 3, dtype=F64)
    _, new = m(x, tuple(start))
    zones = layer.zones()._replace(z_cell=z_cell, z_hidden=z_hidden, shared=shared, noise=r.noise(1)(*one_entry(r), 0))
    layer.zones = lambda: zones
    layer.forward = lambda *a: type(layer).forward(layer, *a)
    return start, new, layer(x, tuple(start))[1]


def one_entry(r: Rig) -> tuple[Any, int]:
    return next(iter(r.techniques)), r.net.sites[0].index


def test_each_unit_of_each_example_is_kept_with_probability_z() -> None:
    z = (0.3, 0.1)
    start, new, after = states(*z)
    for old, fresh, got, p in zip(start, new, after, reversed(z), strict=True):
        kept = got == old
        torch.testing.assert_close(torch.where(kept, old, fresh), got, rtol=0, atol=1e-14)
        n = kept.numel()
        assert abs(float(kept.double().mean()) - p) < 5 * math.sqrt(p * (1 - p) / n)
        per_unit = kept.double().mean((0, 1))
        assert bool(((per_unit - p).abs() < 5.5 * math.sqrt(p * (1 - p) / 4000)).all())
    both = ((after[0] == start[0]) & (after[1] == start[1])).double().mean()
    assert abs(float(both) - 0.03) < 5 * math.sqrt(0.03 * 0.97 / 16000)  # drawn independently


def test_a_shared_mask_keeps_both_states_of_a_unit_together() -> None:
    start, _, after = states(0.3, 0.3, shared=True)
    assert torch.equal(after[0] == start[0], after[1] == start[1])
    start, _, after = states(0.3, 0.1, shared=True)
    h, c = after[0] == start[0], after[1] == start[1]
    assert bool((c | ~h).all()) and abs(float(h.double().mean()) - 0.1) < 5 * math.sqrt(0.09 / 16000)


def test_z_1_freezes_the_state_and_passes_the_gradient_through_time() -> None:
    start, _, after = states(1.0, 1.0, rows=5)
    for old, got in zip(start, after, strict=True):
        assert torch.equal(old, got)
    torch.manual_seed(0)
    layer: Any = nn.LSTM(3, 4).double()
    layer.__class__ = zoned(nn.LSTM)
    layer.zones = FixedZones(0.0, 0.75)
    h0 = torch.randn(1, 2, 4, dtype=F64, requires_grad=True)
    out, _ = layer(torch.zeros(1, 2, 3, dtype=F64), (h0, torch.zeros(1, 2, 4, dtype=F64)))
    with torch.no_grad():
        layer.weight_hh_l0.zero_()  # h̃ no longer depends on h: what is left is the kept share
    out, _ = layer(torch.zeros(9, 2, 3, dtype=F64), (h0, torch.zeros(1, 2, 4, dtype=F64)))
    (g,) = torch.autograd.grad(out[-1].sum(), h0)
    torch.testing.assert_close(g, torch.full_like(g, 0.75**9), rtol=0, atol=1e-14)


def test_draws_count_global_rows() -> None:
    """The second half of a batch draws what a rank that starts at its row would draw."""
    r, x = rig("lstm", Zoneout(0.4, 0.4), bidirectional=True)
    whole = r(x, noise=r.noise(7))
    torch.testing.assert_close(r(x[2:], noise=r.noise(7, row0=2)), whole[2:], rtol=0, atol=1e-14)
    assert not torch.allclose(r(x, noise=r.noise(7, step=1)), whole)


def test_stacked_equals_alone() -> None:
    r, x = rig("gru", Zoneout(0.4, 0.3))
    knobs = {"z_cell": torch.tensor(0.4), "z_hidden": torch.tensor(0.3)}
    r.techniques = {k: t.bind(knobs) for k, t in r.techniques.items()}
    both = {k: torch.stack([v, 2 * v]) for k, v in r.params.items()}
    out = torch.vmap(lambda p: r.run(p, r.buffers, x, noise=r.noise(7))[0])(both)
    for i in range(2):
        alone = r.run({k: v[i] for k, v in both.items()}, r.buffers, x, noise=r.noise(7))[0]
        torch.testing.assert_close(out[i], alone, rtol=0, atol=1e-12)


# --- in training, and back --------------------------------------------------------------------------------------------
def two_ways() -> nn.Module:
    return nn.GRU(4, 6, 2, batch_first=True, bidirectional=True)


@pytest.mark.parametrize("make", [lambda: nn.LSTM(4, 6, batch_first=True), two_ways])
def test_trains_and_comes_back_with_the_users_parameters(make: Any, sequences: Any) -> None:
    """run.model mixes by z, has the user's keys, is still PyTorch's kind of layer, and can be copied and pickled."""
    options, recipe = eq.Options(precision="float64"), eq.Recipe(Zoneout(0.3, 0.2), T.Adam(0.02))
    run = eq.train(lambda: Model(make()), recipe, sequences, epochs=8, batch_size=16, options=options)
    assert run.history[-1]["stop_loss"] < 0.95 * run.history[0]["stop_loss"]
    model, like = run.model, Model(make())
    assert list(model.state_dict()) == list(like.state_dict()) and isinstance(model.rnn, type(like.rnn))
    assert any(n.startswith("Zoneout at rnn is kept as a Zoned") for n in run.notes)
    x = sequences.x[sequences.rows["test"]]
    prepared = run.program.objective.prepare(x.double(), run.program.by_key, run.const.fitted)
    for plain in (model, copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        np.testing.assert_allclose(run.predict(x), torch.softmax(plain(prepared), -1).detach().numpy(), atol=1e-12)
    theirs = Model(make()).double()
    theirs.load_state_dict(model.state_dict())
    assert float((theirs(prepared) - model(prepared)).detach().abs().max()) > 1e-3  # the plain layer would not mix
    again = eq.train(lambda: Model(make()), recipe, sequences, epochs=8, batch_size=16, options=options)
    assert all(torch.equal(v, again.state["params"][k]) for k, v in run.state["params"].items())


def test_a_run_of_a_cohort_equals_the_run_alone(sequences: Any) -> None:
    build, options = (lambda: Model(nn.LSTM(4, 5, batch_first=True))), eq.Options(precision="float64")
    arms = [eq.Recipe(Zoneout(z, 0.1), T.Momentum(0.05)) for z in (0.0, 0.5)]
    many = eq.train_many(build, arms, sequences, seeds=[1, 1], epochs=2, batch_size=16, options=options)
    assert many[0].program is many[1].program
    for recipe, run in zip(arms, many, strict=True):
        alone = eq.train(build, recipe, sequences, seed=1, epochs=2, batch_size=16, options=options)
        for k, v in alone.state["params"].items():
            torch.testing.assert_close(run.state["params"][k], v, rtol=0, atol=1e-12)


def test_the_plain_model_exports() -> None:
    r, x = rig("lstm", Zoneout(0.4, 0.3), batch_first=True)
    plain, _ = r.folded()
    exported = torch.export.export(plain, (x,)).module()
    torch.testing.assert_close(exported(x), plain(x), rtol=0, atol=1e-14)


def test_at_off_nothing_is_kept() -> None:
    for kind, t in (("lstm", Zoneout(0, 0)), ("gru", Zoneout(0.5, 0))):
        plain, notes = rig(kind, t)[0].folded()
        assert not notes and type(plain.rnn) is type(LAYERS[kind]())


class Packed(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.rnn, self.fc = nn.GRU(3, 4, batch_first=True), nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        packed = nn.utils.rnn.pack_padded_sequence(x, torch.full((len(x),), x.shape[1]), batch_first=True)
        return self.fc(self.rnn(packed)[1][0])


@pytest.mark.parametrize(
    ("model", "t", "text"),
    [
        (lambda: nn.Sequential(nn.Flatten(), nn.Linear(18, 2)), Zoneout(), "finds no RNN, GRU or LSTM.*1 linear"),
        (lambda: Model(LAYERS["gru"]()), Zoneout(where="fc"), "fc is no RNN, GRU or LSTM"),
        (lambda: Model(LAYERS["gru"]()), Zoneout(where="rnm"), "names no site"),
        (lambda: Model(LAYERS["lstm"](proj_size=2)), Zoneout(shared_mask=True), "rnn projects h"),
        (Packed, Zoneout(), "finds no RNN, GRU or LSTM that is called with a tensor"),
    ],
)  # fmt: skip
def test_refusals_say_what_to_do(model: Any, t: Zoneout, text: str) -> None:
    with pytest.raises(EquipoiseError, match=text) as e:
        Rig(model(), torch.randn(4, 6, 3), t)
    assert "\n" not in str(e.value)


def test_two_entries_at_one_layer_are_refused() -> None:
    with pytest.raises(EquipoiseError, match="another Zoneout acts in rnn already"):
        Rig(Model(LAYERS["gru"]()), torch.randn(4, 6, 3), Zoneout(), Zoneout(where="rnn"))
