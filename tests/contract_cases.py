"""For the contract tests: a network and data each technique makes sense on, and the company it needs."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import torch
from torch import nn

from equipoise import techniques as T
from equipoise.data import Data
from equipoise.technique import Technique

from .models_of_users import Cnn, Lstm, Residual, mlp


class Pooled(nn.Module):
    """A convolutional network with a pooling module."""

    def __init__(self) -> None:
        super().__init__()
        self.c, self.act, self.pool, self.fc = (
            nn.Conv2d(2, 4, 3, padding=1),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Linear(4, 3),
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.fc(self.pool(self.act(self.c(x))).mean((2, 3)))


def sigmoid_mlp() -> nn.Module:
    return nn.Sequential(nn.Linear(6, 16), nn.Sigmoid(), nn.Linear(16, 16), nn.Sigmoid(), nn.Linear(16, 3))


def two_outputs() -> nn.Module:
    return nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 2))


ON: dict[str, tuple[Callable[[], nn.Module], str]] = {
    "Zoneout": (Lstm, "sequences"), "StochasticDepth": (Residual, "images"), "ZeroResidual": (Residual, "images"),
    "FractionalMaxPool": (Pooled, "images"), "SpatialDropout": (Cnn, "images"), "DropBlock": (Cnn, "images"),
    "InstanceNorm": (Cnn, "images"), "SparseActivations": (sigmoid_mlp, "table"), "Targets": (two_outputs, "targets"),
    "MultiTask": (two_outputs, "targets"),
}  # fmt: skip
ENTRIES: dict[str, Callable[[type[Technique]], Technique]] = {}
COMPANY: dict[str, tuple[Technique, ...]] = {"L1": (T.SGD(0.05),)}


def entry(kind: type[Technique]) -> Technique:
    return ENTRIES.get(kind.__name__, lambda k: k())(kind)


def case(kind: type[Technique]) -> tuple[Callable[[], nn.Module], Data]:
    if kind.__name__ in ON:
        build, name = ON[kind.__name__]
    elif "table" in kind.kinds:
        build, name = mlp, "table"
    else:
        build, name = Cnn, "images"
    return build, dataset(name)


@cache
def dataset(name: str) -> Data:
    g = torch.Generator().manual_seed(11)
    x: Any
    if name == "images":
        x = torch.rand(81, 2, 8, 8, generator=g)
        y = torch.arange(81) % 3
        x[y == 0, :, 2:6, 0:4] += 1.0
        return Data(x, y, name=name, preserves=("flip_horizontal", "flip_vertical"))
    if name == "sequences":
        x = torch.randn(82, 5, 4, generator=g)
        return Data(x, (x[:, :, 0].sum(1) > 0).long(), kind="sequence", name=name)
    x = torch.randn(81, 6, generator=g)
    if name == "targets":
        return Data(x, torch.stack([x[:, 0] + x[:, 1] ** 2, 3 * x[:, 2] + 10], 1), task="regress", name=name)
    return Data(x, (x[:, 0] + x[:, 1]).mul(0.8).round().clamp(-1, 1).long() + 1, name=name)
