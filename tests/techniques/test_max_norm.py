"""MaxNorm against torch.renorm."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

import equipoise as eq
from equipoise import techniques as T
from equipoise.data import Data
from equipoise.errors import EquipoiseError
from equipoise.recipe import Recipe
from equipoise.sites import Network
from equipoise.technique import At

from ..models_of_users import Cnn, Lstm, Transformer, mlp
from ..noise_support import bound

CASES: list[tuple[Callable[[], nn.Module], tuple[int, ...]]] = [
    (mlp, (4, 6)),
    (Cnn, (4, 2, 8, 8)),
    (Lstm, (4, 5, 4)),
    (Transformer, (4, 5, 4)),
]


@pytest.mark.parametrize(("build", "shape"), CASES)
@pytest.mark.parametrize("c", [0.2, 0.42])
def test_units_are_renormalized_as_torch_does(build: Callable[[], nn.Module], shape: tuple[int, ...], c: float):
    net = Network(build(), torch.randn(*shape))
    params = {n: p.detach() for n, p in net.module.named_parameters()}
    out = bound(T.MaxNorm(c)).project(params, At(net))
    touched = 0
    for n, w in params.items():
        if n not in net.affine_weights:
            assert out[n] is w
            continue
        torch.testing.assert_close(out[n], torch.renorm(w, 2, 0, c), rtol=1e-5, atol=0)
        inside = w.flatten(1).norm(dim=1) <= c
        assert torch.equal(out[n][inside], w[inside])
        touched += int((~inside).sum())
    assert touched > 0


def test_off_and_units_of_norm_zero_are_bit_identical():
    net: Any = type("Net", (), {"affine_weights": frozenset({"w"})})
    w = torch.cat([torch.zeros(1, 4), 1e3 * torch.randn(3, 4, generator=torch.Generator().manual_seed(0))])
    assert torch.equal(bound(T.MaxNorm().switched_off()).project({"w": w}, At(net))["w"], w)
    assert torch.equal(bound(T.MaxNorm(0.1)).project({"w": w}, At(net))["w"][0], w[0])


@pytest.mark.parametrize("optimizer", [T.SGD(0.5), T.Adam(0.05)])
def test_training_ends_inside_the_ball(optimizer: Any, table: Data):
    norms = {}
    for name, extra in (("free", ()), ("bound", (T.MaxNorm(0.7),))):
        run = eq.train(mlp, Recipe(optimizer, *extra), table, epochs=4, batch_size=16)
        weights = [v for v in run.state["params"].values() if v.dim() == 2]
        norms[name] = torch.cat([w.norm(dim=1) for w in weights])
    assert norms["free"].max() > 1
    assert norms["bound"].max() <= 0.7 * (1 + 1e-6)
    assert (norms["bound"] > 0.69).sum() > 3  # units on the sphere
    assert norms["bound"].min() < 0.65  # and inside


def test_the_radius_is_a_positive_number():
    for c in (0.0, -1.0, float("inf")):
        with pytest.raises(EquipoiseError, match=r"MaxNorm\(c=.*c must lie in \(0, inf\)"):
            T.MaxNorm(c)
