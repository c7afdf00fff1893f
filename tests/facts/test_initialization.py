"""What the decks state about start values: symmetry, the size of signals and gradients by depth, residual branches."""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from scipy import integrate, stats
from torch import Tensor, nn

import equipoise as eq
from equipoise import techniques as T
from equipoise.data import Data
from equipoise.technique import Technique

from ..starting import F64, outputs, program, start, started

SIGMAS = 6.0  # standard errors of a bound: by chance less than once in a million, t distributed with 30 degrees or more


def normal(*shape: int, seed: int = 1) -> Tensor:
    return torch.randn(*shape, dtype=F64, generator=torch.Generator().manual_seed(seed))


def net(widths: list[int], activation: Callable[[], nn.Module] = nn.Identity, bias: bool = False) -> nn.Sequential:
    """Affine map, activation, affine map, activation, …; layer l is module 2l."""
    return nn.Sequential(*(m for i, o in pairwise(widths) for m in (nn.Linear(i, o, bias=bias), activation())))


def signals(model: nn.Sequential, params: dict[str, Tensor], x: Tensor) -> list[Tensor]:
    """The input and what every activation gives."""
    out = [x]
    for i, m in enumerate(model):
        if f"{i}.weight" in params:
            z = F.linear(out[-1], params[f"{i}.weight"], params.get(f"{i}.bias"))
        else:
            out.append(m(z))
    return out


def stds(technique: Technique, activation: Callable[[], nn.Module], width: int = 500, depth: int = 6) -> list[float]:
    model, x = net([width] * (depth + 1), activation), normal(200, width)
    params, _ = started(model, x, technique, seed=1)
    return [float(a.std()) for a in signals(model, params, x)]


def mean_squares(technique: Technique, widths: list[int], activation: Any, seeds: int) -> np.ndarray:
    """E[a²] by depth, relative to the input's, of as many starts (seeds, depth + 1)."""
    model, rows = net(widths, activation), []
    starts = program(model, normal(4, widths[0]), technique)
    for seed in range(seeds):
        x = normal(20, widths[0], seed=seed)
        params = start(starts, x, seed)["params"]
        rows.append([float(a.square().mean()) for a in signals(model, params, x)])
    return np.array(rows) / np.array(rows)[:, :1]


def close(values: np.ndarray, want: float) -> bool:
    """The mean of independent values lies within `SIGMAS` standard errors of ``want``."""
    return abs(values.mean() - want) <= SIGMAS * values.std(ddof=1) / len(values) ** 0.5


# --- symmetry -------------------------------------------------------------------------------------------------------
def diversity(w: Tensor) -> float:
    """Σ_j ‖w_j − w̄‖² / Σ_j ‖w_j‖² over the rows: 0 where all units are the same."""
    return float((w - w.mean(0)).square().sum() / w.square().sum())


def five_steps(technique: Technique | None, activation: Callable[[], nn.Module] = nn.Tanh, hidden: int = 1) -> Any:
    """MLP 8-16-…-3, five steps of full-batch descent at rate .5; returns the run and the first layer's gradient."""
    x = normal(60, 8).float()
    data = Data(x, torch.tensor([0] * 30 + [1] * 20 + [2] * 10))
    model = net([8, *[16] * hidden], activation, bias=True).append(nn.Linear(16, 3))
    recipe = eq.Recipe(T.SGD(0.5), *([technique] if technique else []))
    run = eq.train(model, recipe, data, epochs=5, batch_size=60, seed=2, options=eq.Options(precision="float64"))
    leaves = {k: v.clone().requires_grad_() for k, v in run.state["params"].items()}
    rows = data.rows["fit"]
    loss = F.cross_entropy(outputs(model, leaves, x[rows].double()), data.y[rows])
    (gradient,) = torch.autograd.grad(loss, leaves["0.weight"])
    return run, gradient


@pytest.mark.parametrize("hidden", [1, 3])
@pytest.mark.parametrize("activation", [nn.Tanh, nn.ReLU, nn.Sigmoid])
def test_identical_hidden_units_never_diverge_and_output_rows_do(
    activation: Callable[[], nn.Module], hidden: int
) -> None:
    run, gradient = five_steps(T.Constant(0.1), activation, hidden)
    for layer in range(hidden):
        assert diversity(run.state["params"][f"{2 * layer}.weight"]) < 1e-20
    assert diversity(run.state["params"][f"{2 * hidden}.weight"]) > 1e-8
    assert diversity(gradient) < 1e-20 and torch.linalg.matrix_rank(gradient) == 1  # it learns, as one unit
    plain, gradient = five_steps(None, activation, hidden)
    assert diversity(plain.state["params"]["0.weight"]) > 0.5 and torch.linalg.matrix_rank(gradient) == 8


@pytest.mark.parametrize("hidden", [1, 3])
@pytest.mark.parametrize("activation", [nn.Tanh, nn.ReLU])
def test_an_all_zero_net_moves_its_last_bias_alone(activation: Callable[[], nn.Module], hidden: int) -> None:
    run, gradient = five_steps(T.Constant(0.0), activation, hidden)
    assert {k for k, v in run.state["params"].items() if v.any()} == {f"{2 * hidden}.bias"} and not gradient.any()


@pytest.mark.parametrize("m", [2, 3, 6])
@pytest.mark.parametrize("S", [0.5, 1.1])
def test_the_derivative_of_a_linear_net_is_s_to_the_depth_less_one_times_x(m: int, S: float) -> None:
    model, x = net([1] * (m + 1)), normal(4, 1)
    params, _ = started(model, x, T.Constant(S))
    leaves = {k: v.requires_grad_() for k, v in params.items()}
    for gradient in torch.autograd.grad(outputs(model, leaves, x[:1]).sum(), list(leaves.values())):
        torch.testing.assert_close(gradient, S ** (m - 1) * x[:1])


# --- the size of signals ----------------------------------------------------------------------------------------------
def test_small_weights_lose_the_signal_of_a_six_layer_tanh_net() -> None:
    found = stds(T.SmallRandom(0.001), nn.Tanh)
    assert found[-1] < 1e-9
    for a, b in pairwise(found):  # one layer's ratio has the relative standard error √(2/500)/2
        assert abs(b / a / (500**0.5 * 0.001) - 1) < SIGMAS * 0.5 * (2 / 500) ** 0.5


def test_the_small_signal_rate_of_tanh() -> None:
    """tanh after weights of sd .01, n = 512: second moments fall by n·10⁻⁴ = .0512 per layer."""
    found = mean_squares(T.SmallRandom(0.01), [512] * 3, nn.Tanh, 32)
    assert close(found[:, 2] / found[:, 1], 512e-4)


def test_xavier_keeps_the_variance_of_a_linear_net() -> None:
    assert close(mean_squares(T.Xavier(mode="in"), [128] * 7, nn.Identity, 40)[:, 6], 1)
    half = mean_squares(T.Xavier(0.5**0.5, "in"), [96] * 21, nn.Identity, 40)[:, 20]
    assert close(half, 0.5**20)


def test_tanh_under_gain_1_stays_within_a_factor_4_over_six_layers() -> None:
    found = stds(T.Xavier(), nn.Tanh)
    assert all(a > b for a, b in pairwise(found)) and found[0] / 4 < found[-1]


def test_tanh_under_gain_five_thirds_stays_near_point_65() -> None:
    """The fixed point of q ← E tanh²((5/3)·√q·z), z ~ N(0, 1), by quadrature."""
    q = 1.0
    for _ in range(60):
        q = integrate.quad(lambda z, q=q: np.tanh(5 / 3 * q**0.5 * z) ** 2 * stats.norm.pdf(z), -12, 12)[0]
    assert abs(q**0.5 - 0.65) < 0.01
    found = stds(T.Xavier(5 / 3), nn.Tanh, depth=10)[6:]
    assert all(abs(s / q**0.5 - 1) < SIGMAS * 0.5 * (2 / 500) ** 0.5 for s in found)


@pytest.mark.parametrize("kind", ["normal", "uniform"])
def test_relu_keeps_its_second_moment_only_under_he(kind: str) -> None:
    he = mean_squares(T.He(kind=kind), [96] * 9, nn.ReLU, 60)
    assert close(he[:, 4], 1) and close(he[:, 8], 1)
    xavier = mean_squares(T.Xavier(mode="in", kind=kind), [96] * 9, nn.ReLU, 60)
    for depth in (4, 8):
        assert close(xavier[:, depth] * 2**depth, 1)


def test_thirty_relu_layers_under_xavier_leave_a_billionth() -> None:
    found = mean_squares(T.Xavier(mode="in"), [128] * 31, nn.ReLU, 31)[:, 30]
    assert close(found * 2.0**30, 1) and found.max() < 1e-7


def test_the_decks_positive_weights_grow_at_width_4096() -> None:
    """U[0, .001) multiplies a constant signal by n·s/2 = 2.048 per layer, zero-mean weights by √n·s = .064."""
    n, s = 4096, 0.001
    model, x = net([n, n]), torch.ones(2, n)
    for kind, growth in (("positive", n * s / 2), ("normal", n**0.5 * s)):
        params, _ = started(model, x, T.SmallRandom(s, kind), seed=1)
        a = x[:1]
        for _ in range(3):
            a, before = F.linear(a, params["0.weight"]), a
            ratio = float(a.square().mean().sqrt() / before.square().mean().sqrt())
            assert abs(ratio / growth - 1) < SIGMAS * (2 / n) ** 0.5


# --- signals against gradients ----------------------------------------------------------------------------------------
@pytest.mark.parametrize("activation", [nn.ReLU, nn.Identity])
def test_on_a_tapering_net_signals_and_gradients_contradict_each_other(activation: Callable[[], nn.Module]) -> None:
    """He in keeps E[a²] and lets gradients fall by ∏ fan_out/fan_in; He out keeps gradients and lets E[a²] grow by the
    inverse. (Linear layers: the same with Xavier's variance, one half of He's.)"""
    widths = [48, 32, 16, 12, 8]
    product = math.prod(o / i for i, o in pairwise(widths))
    gain = 1.0 if activation is nn.ReLU else 0.5 ** len(widths[1:])
    model = net(widths, activation)
    for mode, signal, gradient in (("in", 1.0, product), ("out", 1 / product, 1.0)):
        forward, backward = [], []
        starts = program(model, normal(4, widths[0]), T.He(mode))
        for seed in range(100):
            x = normal(8, widths[0], seed=seed).requires_grad_()
            params = start(starts, x.detach(), seed)["params"]
            out = signals(model, params, x)[-1]
            g = torch.randn(out.shape, dtype=F64, generator=torch.Generator().manual_seed(seed + 1000))
            (dx,) = torch.autograd.grad(out, x, g)
            forward.append(float(out.detach().square().mean() / x.detach().square().mean()))
            backward.append(float(dx.square().mean() / g.square().mean()))
        assert close(np.array(forward) * gain, signal)
        assert close(np.array(backward) * gain, gradient)


# --- residual branches ------------------------------------------------------------------------------------------------
class Blocks(nn.Module):
    """h ← h + W₂ max(0, W₁ h), as often as asked, behind a stem."""

    def __init__(self, width: int, blocks: int, norm: bool = False) -> None:
        super().__init__()
        self.stem = nn.Linear(width, width)
        make = lambda: nn.Sequential(  # noqa: E731
            nn.Linear(width, width), nn.ReLU(), nn.Linear(width, width), *([nn.BatchNorm1d(width)] if norm else [])
        )
        self.blocks = nn.ModuleList(make() for _ in range(blocks))

    def stream(self, x: Tensor) -> list[Tensor]:
        out = [self.stem(x)]
        for block in self.blocks:
            out.append(out[-1] + block(out[-1]))
        return out

    def forward(self, x: Tensor) -> Tensor:
        return self.stream(x)[-1]


def streams(technique: Technique, seeds: int, norm: bool = False) -> list[list[Tensor]]:
    model = Blocks(48, 3, norm).double()
    starts = program(model, normal(4, 48), technique)
    found = []
    for seed in range(seeds):
        x = normal(32, 48, seed=seed)
        model.load_state_dict(start(starts, x, seed)["params"], strict=False)
        found.append([h.detach() for h in model.stream(x)])
    return found


def test_the_variance_of_a_residual_stream_triples_under_he() -> None:
    ratios = np.array([[float(h.square().mean()) for h in stream] for stream in streams(T.He(), 60)])
    ratios /= ratios[:, :1]
    for block in range(1, 4):
        assert close(ratios[:, block], 3.0**block)


@pytest.mark.parametrize("norm", [False, True])
def test_and_stays_exactly_as_it_is_with_a_zero_end(norm: bool) -> None:
    [stream] = streams(T.ZeroResidual(), 1, norm)
    assert all(torch.equal(h, stream[0]) for h in stream)


def test_a_zero_weight_before_a_normalization_has_gradients_one_over_root_epsilon_too_large() -> None:
    """Why γ is zeroed instead: du/dW of u = (z − μ)/√(σ² + ε) is 1/√ε ≈ 316 at W = 0, and 1/σ at He's weights."""
    model, x = Blocks(64, 1, norm=True).double(), normal(32, 64)
    he, _ = started(model, x, T.He(), seed=1)
    name, norms = "blocks.0.2.weight", []
    zeroed = {**he, name: torch.zeros_like(he[name])}
    for params in (he, zeroed):
        leaves = {k: v.clone().requires_grad_() for k, v in params.items()}
        loss = (outputs(model.train(), leaves, x) * normal(32, 64, seed=2)).sum()
        norms.append(float(torch.autograd.grad(loss, leaves[name])[0].norm()))
    assert norms[1] / norms[0] > 1e-5**-0.5 / 2
    safe, _ = started(model, x, T.ZeroResidual(), seed=1)
    leaves = {k: v.clone().requires_grad_() for k, v in safe.items()}
    loss = (outputs(model.train(), leaves, x) * normal(32, 64, seed=2)).sum()
    gamma, weight = torch.autograd.grad(loss, [leaves["blocks.0.3.weight"], leaves[name]])
    assert gamma.abs().max() > 1 and not weight.any()  # γ moves first, at its usual size


# --- on data ----------------------------------------------------------------------------------------------------------
@pytest.mark.slow
def test_a_thirty_layer_relu_net_trains_under_he_and_stalls_under_xavier() -> None:
    """He et al. (2015), figure 3, in small: digits, width 48, paired seeds; Xavier stays at ln 10."""
    data = Data.load("digits")
    model = nn.Sequential(nn.Flatten(), *net([64, *[48] * 30], nn.ReLU, bias=True), nn.Linear(48, 10))
    recipes = [eq.Recipe(t, T.SGD(0.02), T.Standardize()) for t in (T.He(), T.Xavier(mode="in")) for _ in range(3)]
    runs = eq.train_many(model, recipes, data, seeds=[1, 2, 3] * 2, epochs=8, batch_size=32)
    he, xavier = np.array([r.score("assess")["loss"] for r in runs]).reshape(2, 3)
    assert np.abs(xavier - math.log(10)).max() < 0.01
    assert stats.ttest_rel(he, xavier).confidence_interval(0.95).high < -0.2
