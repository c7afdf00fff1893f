"""Open: does batch norm remove the need for dropout (D2, "anecdotal")? Measured, whatever comes out.

300 digits, two hidden layers of 64; dropout 0.5 in front of the last layer, behind all batch norm. Printed is what
dropout takes off the error without batch norm, with it, and the difference of the two.
"""

from evidence import SEEDS, Fact, errors, show, train

import equipoise as eq
from equipoise import techniques as T


def measure(seeds=SEEDS) -> list[Fact]:
    digits = eq.Data.load("digits")
    data = digits.with_rows({"fit": digits.rows["fit"][:300]})
    common, drop = (T.He(), T.Adam(0.003)), T.Dropout(0.5, where="head")
    recipes = [eq.Recipe(*common, *more) for more in ((), (drop,), (T.BatchNorm(),), (T.BatchNorm(), drop))]
    plain, dropped, normed, both = map(
        errors, train("mlp(hidden=(64, 64))", recipes, data, seeds, epochs=20, batch_size=50)
    )
    without, beside = ([a - b for a, b in zip(*pair, strict=True)] for pair in ((plain, dropped), (normed, both)))
    name, unit = "300 digits", "points of error"
    return [
        Fact("what dropout takes off without batch norm", name, unit, plain, dropped, stated=False),
        Fact("what dropout takes off beside batch norm", name, unit, normed, both, stated=False),
        Fact("the first less the second", name, unit, without, beside, stated=False),
        Fact("what batch norm alone takes off", name, unit, plain, normed, stated=False),
    ]


if __name__ == "__main__":
    show(measure())
