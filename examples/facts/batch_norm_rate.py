"""Batch norm lets a learning rate train at which the plain network fails (D1, D2, D4).

Digits, four hidden ReLU layers of 32, He, SGD at rate RATE for 5 epochs; both arms from the same start values. Varied
before: the width, for time (64: +79.9).
"""

from evidence import SEEDS, Fact, errors, show, train

import equipoise as eq
from equipoise import techniques as T

RATE = 1.0


def measure(seeds=SEEDS) -> list[Fact]:
    data, both = eq.Data.load("digits"), (T.He(), T.SGD(RATE))
    plain, normed = train(
        "mlp(hidden=(32, 32, 32, 32))", [eq.Recipe(*both), eq.Recipe(*both, T.BatchNorm())], data, seeds, epochs=5
    )
    claim = f"plain loses to batch norm at SGD({RATE:g})"
    return [Fact(claim, data.name, "points of error", errors(plain), errors(normed))]


if __name__ == "__main__":
    show(measure())
