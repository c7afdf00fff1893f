"""GaussianNoise on inputs, activations and weights: moments, Tikhonov's penalty, and steps computed by hand."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
import torch.nn.functional as F
from scipy import stats
from torch import Tensor, nn

import equipoise as eq
from equipoise import techniques as T
from equipoise.data import Data
from equipoise.errors import EquipoiseError
from equipoise.technique import At, Batch

from ..models_of_users import Lstm, Shared, mlp
from ..noise_support import Noisy, OneStep, Quadrature, assert_moments, assert_uncorrelated, at, bound, noise, site

ROWS = torch.randn(300, 4, generator=torch.Generator().manual_seed(0)) * torch.tensor([1.0, 10.0, 0.1, 0.0]) + 5


def batch(x: Any, n: int) -> Batch:
    return Batch(x, torch.zeros(n, 2), torch.ones(n))


def noisy_inputs(t: Any, x: Any, data: Any = None, seen: Any = None) -> Any:
    """What the batch stage makes of x, fitted on the same x."""
    fitted = t.fit(x, torch.zeros(2), data)
    n = len(x[0] if isinstance(x, tuple) else x)
    return bound(t).batch(batch(x, n), At(noise=seen or noise(), fitted=fitted, training=True)).x


# --- inputs -----------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("unit", ["std", "data"])
def test_inputs_get_noise_in_their_own_units(unit: str):
    fitted = T.GaussianNoise(unit=unit).fit(ROWS, torch.zeros(2), None)
    spread = ROWS.double().numpy().std(0) if unit == "std" else np.ones(4)
    np.testing.assert_allclose(fitted["scale0"].numpy(), spread, rtol=1e-12, atol=1e-15)
    x = ROWS[:1].expand(40_000, 4)
    at_batch = At(noise=noise(), fitted={k: v.float() for k, v in fitted.items()}, training=True)
    out = bound(T.GaussianNoise(0.3, unit=unit)).batch(batch(x, len(x)), at_batch).x
    assert_moments(out, x[0].double(), torch.from_numpy((0.3 * spread) ** 2).clamp(min=1e-14))
    z = (out[:, 0] - x[:, 0]) / (0.3 * spread[0])
    assert stats.kstest(z.numpy(), "norm").pvalue > 1e-7
    assert_uncorrelated(out[:, 0] - x[:, 0], out[:, 1] - x[:, 1])
    assert_uncorrelated(out[1:, 0], out[:-1, 0])
    if unit == "std":
        assert torch.equal(out[:, 3], x[:, 3]), "a constant feature stays constant"


def test_images_per_channel_and_bytes_in_their_stored_values():
    x = torch.randint(0, 256, (50, 3, 6, 5), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    x[:, 1] = x[:, 1] // 8
    fitted = T.GaussianNoise().fit(x, torch.zeros(2), None)
    np.testing.assert_allclose(fitted["scale0"][:, 0, 0], x.double().numpy().std((0, 2, 3)), rtol=1e-12)
    assert fitted["scale0"].shape == (3, 1, 1)
    sequences = torch.randn(40, 6, 2) * torch.tensor([1.0, 7.0])
    fitted = T.GaussianNoise().fit(sequences, torch.zeros(2), None)
    np.testing.assert_allclose(fitted["scale0"], sequences.double().numpy().std((0, 1)), rtol=1e-12)


def test_categories_and_missing_values_stay():
    n = 60
    frame = pd.DataFrame({"kind": ["a", "b", "c"] * 20, "size": np.arange(n) * 1.0, "age": np.linspace(1, 9, n)})
    frame.loc[::7, "age"] = np.nan
    frame.loc[::11, "kind"] = None
    data = Data(frame, np.arange(n) % 2)
    x = data.x
    assert isinstance(x, Tensor)
    t = T.GaussianNoise(0.5)
    np.testing.assert_allclose(t.fit(x, data.y, data)["scale0"], [0, np.std(frame["size"]), np.nanstd(frame["age"])])
    for unit in ("std", "data"):
        out = noisy_inputs(T.GaussianNoise(0.5, unit=unit), x, data)
        assert torch.equal(out[:, 0].nan_to_num(-1), x[:, 0].nan_to_num(-1))
        assert torch.equal(out.isnan(), x.isnan()) and (out != x)[:, 1:][~x[:, 1:].isnan()].all()


def test_several_inputs_each_by_itself_and_tokens_untouched():
    a, tokens, b = torch.randn(500, 2), torch.randint(0, 9, (500, 3)), torch.randn(500, 2) * 100
    x = noisy_inputs(T.GaussianNoise(0.1), (a, tokens, b))
    assert torch.equal(x[1], tokens) and 0.08 < float((x[0] - a).std()) < 0.12 and 8 < float((x[2] - b).std()) < 12
    assert_uncorrelated(x[0] - a, x[2] - b)


def test_a_squared_error_pays_for_the_slope():
    """E (w(x + σz) − y)² = (wx − y)² + σ²‖w‖², exactly for a linear function (Bishop 1995)."""
    q = Quadrature()
    w, x, y, sigma = 1.7, 0.4, -0.3, 0.25
    at_batch = At(noise=q, fitted={"scale0": torch.ones(1, dtype=torch.float64)}, training=True)  # type: ignore[arg-type]
    rows = torch.full((len(q.nodes), 1), x, dtype=torch.float64)
    out = bound(T.GaussianNoise(sigma)).batch(batch(rows, len(rows)), at_batch).x
    risk = float((q.weights * (w * out[:, 0] - y) ** 2).sum())
    assert risk == pytest.approx((w * x - y) ** 2 + sigma**2 * w**2, rel=1e-12)


def test_input_noise_arrives_in_a_training_step(table: Data):
    step = OneStep(mlp, table, T.GaussianNoise(0.3))
    assert isinstance(table.x, Tensor)
    spread = table.x[table.rows["fit"]].double().std(0, correction=0)
    x = step.raw + 0.3 * spread * step.noise().normal(tuple(step.raw.shape), torch.float64)
    prepared = (x - step.fitted["Standardize"]["mean0"]) / step.fitted["Standardize"]["std0"]

    def forward(p: Any) -> Tensor:
        h = F.linear(prepared, p["0.weight"], p["0.bias"]).relu()
        return F.linear(F.linear(h, p["2.weight"], p["2.bias"]).tanh(), p["4.weight"], p["4.bias"])

    step.assert_follows(forward)


# --- activations ------------------------------------------------------------------------------------------------------
def test_activations_get_noise_as_it_is():
    x = ROWS[:1].double().expand(30_000, 4)
    t = bound(T.GaussianNoise(0.2, "activations"))
    out = t.act(x, at(site(nn.Linear(4, 2)), noise()))
    assert_moments(out, x[0], torch.full((4,), 0.04))
    assert torch.equal(t.act(x, at(site(nn.Linear(4, 2)), None)), x), "prediction uses the clean values"


def test_activation_noise_arrives_in_a_training_step(table: Data):
    step = OneStep(mlp, table, T.GaussianNoise(0.3, "activations"))

    def forward(p: Any) -> Tensor:
        noisy = lambda h, place: h + 0.3 * step.noise(place).normal(tuple(h.shape), torch.float64)  # noqa: E731
        h = noisy(F.linear(step.standardized, p["0.weight"], p["0.bias"]).relu(), 1)
        return F.linear(noisy(F.linear(h, p["2.weight"], p["2.bias"]).tanh(), 2), p["4.weight"], p["4.bias"])

    step.assert_follows(forward)


# --- weights ----------------------------------------------------------------------------------------------------------
class Worded(nn.Module):
    """An embedding no site reaches, a normalization, biases, a frozen map."""

    def __init__(self) -> None:
        super().__init__()
        self.words, self.a, self.norm = nn.Embedding(3, 4), nn.Linear(6, 4), nn.LayerNorm(4)
        self.fixed, self.out = nn.Linear(4, 4), nn.Linear(4, 3)
        self.fixed.weight.requires_grad_(False)

    def forward(self, x: Tensor) -> Tensor:
        return self.out(self.fixed(self.norm(self.a(x) + self.words(torch.zeros(len(x), dtype=torch.long)))))


def noisy_weights(net: Noisy, seed: int = 0) -> dict[str, Tensor]:
    t = net.techniques["GaussianNoise/weights/" + str(net.entries[0].where)]  # type: ignore[attr-defined]
    return t.weights(net.params, lambda _: At(net.net, noise(seed), training=True))


@pytest.mark.parametrize(
    ("where", "changed"),
    [("all", {"words.weight", "a.weight", "out.weight"}), ("a", {"a.weight"}), ("dense", {"a.weight", "out.weight"})],
)
def test_matrices_get_noise_and_nothing_else(where: str, changed: set[str]):
    net = Noisy(Worded(), torch.randn(4, 6), T.GaussianNoise(0.2, "weights", where=where))
    net.params = {k: v for k, v in net.params.items() if k != "fixed.weight"}
    new = noisy_weights(net)
    assert {k for k in new if not torch.equal(new[k], net.params[k])} == changed
    assert all(torch.equal(new[k], net.params[k]) for k in net.params if k not in changed)


def test_weight_noise_has_its_variance_and_is_one_draw_for_all_rows():
    net = Noisy(Shared(), torch.randn(4, 6), T.GaussianNoise(0.2, "weights"))
    draws = [noisy_weights(net, s) for s in range(400)]
    e = torch.stack([d["twice.weight"] - net.params["twice.weight"] for d in draws])
    assert_moments(e, torch.zeros(6, 6), torch.full((6, 6), 0.04))
    assert_uncorrelated(e, torch.stack([d["enc.weight"] - net.params["enc.weight"] for d in draws]))
    x = torch.randn(1, 6).expand(5, 6)
    out = net(x, True, **{k.replace(".", "__"): v for k, v in draws[0].items()})
    assert torch.equal(out, out[:1].expand_as(out))


def test_weight_noise_arrives_in_a_training_step(table: Data):
    step = OneStep(mlp, table, T.GaussianNoise(0.3, "weights"))
    sizes = [16 * 6, 16 * 16, 3 * 16]
    e = dict(zip(("0", "2", "4"), step.noise().normal((sum(sizes),), torch.float64).split(sizes), strict=True))

    def forward(p: Any) -> Tensor:
        apply = lambda h, n: F.linear(h, p[f"{n}.weight"] + 0.3 * e[n].view_as(p[f"{n}.weight"]), p[f"{n}.bias"])  # noqa: E731
        return apply(apply(apply(step.standardized, "0").relu(), "2").tanh(), "4")

    step.assert_follows(forward)


# --- off, prediction, refusals ----------------------------------------------------------------------------------------
@pytest.mark.parametrize("on", ["inputs", "activations", "weights"])
def test_off_is_the_identity_bit_for_bit(on: str):
    t = T.GaussianNoise(0, on)
    assert torch.equal(noisy_inputs(t, ROWS), ROWS)
    assert torch.equal(bound(t).act(ROWS, at(site(nn.Linear(4, 2)), noise())), ROWS)
    if on == "weights":
        net = Noisy(mlp(), torch.randn(4, 6), t)
        assert all(torch.equal(v, net.params[k]) for k, v in noisy_weights(net).items())


@pytest.mark.parametrize("on", ["inputs", "activations", "weights"])
def test_prediction_is_clean(on: str, table: Data):
    run = eq.train(mlp, [T.GaussianNoise(0.2, on), T.SGD(0.1)], table, epochs=1, batch_size=32)
    x, _ = table.select("test")
    fit = run.const.fitted["Standardize"]
    clean = torch.softmax(run.model((x - fit["mean0"]) / fit["std0"]), 1).detach().numpy()  # type: ignore[operator]
    np.testing.assert_allclose(run.predict(x), clean, atol=1e-6)


def test_where_activations():
    def acting(model: nn.Module, x: Tensor, where: str) -> list[str]:
        net = Noisy(model, x, T.GaussianNoise(0.1, "activations", where=where)).net
        return [s.name for s in net.sites if s.acts]

    assert acting(mlp(), torch.randn(4, 6), "all") == ["2", "4"] and acting(mlp(), torch.randn(4, 6), "0") == ["0"]
    assert acting(Lstm(), torch.randn(4, 5, 4), "all") == ["fc"]


def test_what_cannot_be_meant_is_refused():
    with pytest.raises(EquipoiseError, match="where= names affine maps"):
        T.GaussianNoise(where="dense")
    with pytest.raises(EquipoiseError, match="unit= is for on='inputs'"):
        T.GaussianNoise(on="weights", unit="data")


def test_places_do_not_share_their_noise(table: Data):
    """The three may stand in one recipe, each with a stream of its own."""
    recipe = eq.Recipe(*(T.GaussianNoise(0.1, on) for on in ("inputs", "activations", "weights")))
    assert len({t.key for t in recipe}) == 3
    assert math.isfinite(eq.train(mlp, recipe, table, epochs=1).history[-1]["loss"])
