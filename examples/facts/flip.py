"""A flip on digits costs: a mirrored 2 is no 2 ("Still a cat?", D1, D3).

Digits, one hidden layer of 64, half of the images mirrored at random in every epoch, or none. Varied before: width
and epochs, for time (two layers of 128, 15 epochs: +2.3).
"""

from evidence import SEEDS, Fact, errors, show, train

import equipoise as eq
from equipoise import techniques as T


def measure(seeds=SEEDS) -> list[Fact]:
    data = eq.Data.load("digits")
    recipes = [eq.Recipe(T.He(), T.Adam(0.003), T.FlipHorizontal(p)) for p in (0.5, 0.0)]
    flipped, plain = train("mlp(hidden=(64,))", recipes, data, seeds, epochs=10)
    return [Fact("flips cost", data.name, "points of error", errors(flipped), errors(plain))]


if __name__ == "__main__":
    show(measure())
