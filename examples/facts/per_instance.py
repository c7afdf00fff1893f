"""PerInstance pays on instances with inconsistent ranges (D3).

Digits, each image with its own gain (log-uniform from 1/10 to 10) and its own level; one hidden layer of 32, Adam.
Against Standardize, which has one mean and one scale per feature. Varied before: width and epochs, for
time (64 units, 8 epochs: +18.1).
"""

import torch
from evidence import SEEDS, Fact, errors, show, train

import equipoise as eq
from equipoise import techniques as T


def measure(seeds=SEEDS) -> list[Fact]:
    digits, g = eq.Data.load("digits"), torch.Generator().manual_seed(3)
    gain = 10 ** (2 * torch.rand(digits.n, 1, 1, 1, generator=g) - 1)
    level = 20 * torch.randn(digits.n, 1, 1, 1, generator=g)
    data = eq.Data(digits.x * gain + level, digits.y, name="digits of uneven gain and level").with_rows(digits.rows)
    arms = [
        train("mlp(hidden=(32,))", [eq.Recipe(T.He(), T.Adam(0.003), t)], data, seeds, epochs=6)[0]
        for t in (T.Standardize(), T.PerInstance())
    ]
    return [Fact("Standardize loses to PerInstance", data.name, "points of error", *map(errors, arms))]


if __name__ == "__main__":
    show(measure())
