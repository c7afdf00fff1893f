"""Start values as a run gets them, what every initializer keeps, and the test that tells distributions apart."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest
import torch
from scipy import stats
from torch import Tensor, nn

from equipoise import techniques as T
from equipoise.errors import EquipoiseError
from equipoise.step import Program, State
from equipoise.technique import Batch, Technique

from .models_of_users import Shared

F64 = torch.float64
LEVEL = 1e-6  # a statistical assertion fails by chance less often than this


def program(model: nn.Module, x: Tensor, *techniques: Technique) -> Program:
    """The program of a regression on ``model``, which is copied for every start."""
    outputs = copy.deepcopy(model).to(x.dtype)(x).shape[-1]
    precision = "float64" if x.dtype == F64 else "float32"
    return Program(lambda: copy.deepcopy(model), [T.SquaredError(), *techniques], x, "regress", outputs, precision)


def started(model: nn.Module, x: Tensor, *techniques: Technique, seed: int = 0) -> tuple[dict[str, Tensor], Program]:
    """The parameters of a run before its first step; ``x`` is its first batch."""
    p = program(model, x, *techniques)
    return start(p, x, seed)["params"], p


def start(p: Program, x: Tensor, seed: int = 0, techniques: Any = None) -> State:
    batch = Batch(x, torch.zeros(len(x), p.net.output.shape[-1]), torch.ones(len(x)))
    return p.start(seed, techniques or p.by_key, batch)


def outputs(model: nn.Module, params: dict[str, Tensor], x: Tensor) -> Tensor:
    """What the user's own module gives with these parameters."""
    return torch.func.functional_call(copy.deepcopy(model).to(x.dtype), params, (x,))


def distributed(w: Tensor, law: Any) -> float:
    """p value of the Kolmogorov-Smirnov test of the numbers in ``w`` against a scipy distribution."""
    return float(stats.kstest(np.asarray(w.double()).ravel(), law.cdf).pvalue)


def check_distribution(w: Tensor, law: Any) -> None:
    """``w`` follows ``law``, and the test would have noticed a scale 3 % off."""
    assert distributed(w, law) > LEVEL
    assert distributed(w * 1.03, law) < LEVEL


def check_contract_of_starts(t: Technique) -> None:
    """Same seed, same start; frozen weights stay; a tied weight is set once; the whole is told; no site is an error."""
    x = torch.randn(16, 6, dtype=F64, generator=torch.Generator().manual_seed(1))
    model = Shared()
    before = {n: p.detach().clone().double() for n, p in model.named_parameters()}
    one, p = started(model, x, t, seed=5)
    again, _ = started(model, x, t, seed=5)
    other, _ = started(model, x, t, seed=6)
    assert "fixed.weight" not in one and torch.equal(p.net.module.get_parameter("fixed.weight"), before["fixed.weight"])
    for name in ("enc.weight", "twice.weight", "head.weight"):
        assert torch.equal(one[name], again[name])
        assert not torch.equal(one[name], before[name])
        if type(t).__name__ != "Constant":
            assert not torch.equal(one[name], other[name])
    untied = copy.deepcopy(model)
    untied.dec.weight = nn.Parameter(torch.zeros(6, 6))
    alone, _ = started(untied, x, t, seed=5)
    assert torch.equal(one["enc.weight"], alone["enc.weight"])  # the first user of a tied weight draws it
    assert torch.equal(one["fixed.bias"], before["fixed.bias"])  # the bias of a frozen map is the user's own
    assert not any("fixed" in note for note in p.net.notes)
    attention, p = started(Attentive(), x, t)
    assert torch.equal(attention["attention.in_proj_weight"], Attentive.first(x.dtype))
    assert any("attention.in_proj_weight" in note and type(t).__name__ in note for note in p.net.notes)
    with pytest.raises(EquipoiseError, match="no trainable weight"):
        started(Bare(), x, t)


class Attentive(nn.Module):
    """A weight that no call of an affine module reaches."""

    def __init__(self) -> None:
        super().__init__()
        self.attention, self.head = nn.MultiheadAttention(6, 2, batch_first=True), nn.Linear(6, 3)
        with torch.no_grad():
            self.attention.in_proj_weight.fill_(0.125)

    def forward(self, x: Tensor) -> Tensor:
        h = x[:, None]
        return self.head(self.attention(h, h, h, need_weights=False)[0][:, 0])

    @staticmethod
    def first(dtype: torch.dtype) -> Tensor:
        return torch.full((18, 6), 0.125, dtype=dtype)


class Bare(nn.Module):
    """Parameters, but no affine module."""

    def __init__(self) -> None:
        super().__init__()
        self.w = nn.Parameter(torch.ones(6, 3))

    def forward(self, x: Tensor) -> Tensor:
        return x @ self.w
