"""What the tests of penalties share: linear regression with a known minimum, descended by the engine in float64."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

import equipoise as eq
from equipoise import techniques as T
from equipoise.data import Data
from equipoise.plan import Options
from equipoise.recipe import Recipe
from equipoise.run import Run
from equipoise.technique import Empty

N = 32  # fit rows; the other roles get one row each


def orthogonal(n: int, k: int) -> Tensor:
    """(n, k) columns of mean 0 with XᵀX = nI."""
    g = torch.Generator().manual_seed(k)
    raw = torch.randn(n, k, generator=g, dtype=torch.float64)
    q, _ = torch.linalg.qr(raw - raw.mean(0))
    return q * n**0.5


def regression(truth: Tensor | None = None, shift: float = 0.5, correlated: bool = False) -> Data:
    """y = X w* + shift without noise, 32 fit rows; X orthogonal, or with strongly correlated columns."""
    truth = torch.tensor([0.7, -0.4, 0.1, 0.0]) if truth is None else truth
    x = orthogonal(N, len(truth))
    if correlated:
        x = x + 0.5 * x.roll(1, 1)
    return on_rows(x, x @ truth.double()[:, None] + shift)


def on_rows(x: Tensor, y: Tensor) -> Data:
    """All given rows are fit rows; three copies of the first serve the other roles. Kept in float64."""
    n = len(x)
    x, y = torch.cat([x, x[:1].expand(3, -1)]), torch.cat([y, y[:1].expand(3, -1)])
    split = {"fit": list(range(n)), "stop": [n], "assess": [n + 1], "test": [n + 2]}
    data = Data(x, y, task="regress", split=split, name="regression")  # type: ignore[arg-type]
    data.x, data.y = x, y  # unrounded: references agree to 1e-12
    return data


def linear(features: int, outputs: int = 1) -> Callable[[], nn.Module]:
    """A linear model whose start values are fixed (float32 numbers)."""

    def build() -> nn.Module:
        model = nn.Linear(features, outputs)
        with torch.no_grad():
            model.weight.copy_(torch.linspace(-0.5, 0.8, features * outputs).view(outputs, features))
            model.bias.fill_(0.25)
        return model

    return build


def descend(data: Data, *techniques: Any, epochs: int, build: Callable[[], nn.Module] | None = None) -> Run:
    """Full-batch training on the raw values: one step an epoch."""
    recipe = Recipe(T.SquaredError(), Empty("inputs"), Empty("targets"), *techniques)
    n, width = len(data.rows["fit"]), data.shape[0]
    build = build or linear(width, data.outputs)
    return eq.train(
        build, recipe, data, epochs=epochs, batch_size=n, shuffle="never", options=Options(precision="float64")
    )


def weight(run: Run) -> Tensor:
    return run.state["params"]["weight"]
