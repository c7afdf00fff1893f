"""With batches sorted by class batch norm suffers more than the plain network (D2).

Digits in the order of their labels, never shuffled, against the same rows shuffled each epoch: batches of 32 hold one
class, two at most. Compared is the error that sorting adds with batch norm, and without. Varied before: widths
and epochs, for time (two layers of 64 and 20 epochs cost the plain net +3.4 points only).
"""

import torch
from evidence import SEEDS, Fact, errors, show, train

import equipoise as eq
from equipoise import techniques as T

RATE = 0.02


def measure(seeds=SEEDS) -> list[Fact]:
    digits = eq.Data.load("digits")
    order = torch.argsort(digits.y, stable=True)
    place = torch.argsort(order)
    rows = {role: place[r] for role, r in digits.rows.items()}
    data = eq.Data(digits.x[order], digits.y[order], name="digits", split=rows)
    both = (T.He(), T.SGD(RATE))
    recipes = [eq.Recipe(*both), eq.Recipe(*both, T.BatchNorm())]
    found = {
        how: [
            errors(r) for r in train("mlp(hidden=(32, 32))", recipes, data, seeds, epochs=6, batch_size=32, shuffle=how)
        ]
        for how in ("never", "each")
    }
    added = [[a - b for a, b in zip(found["never"][i], found["each"][i], strict=True)] for i in (0, 1)]
    unit = "points of error"
    return [
        Fact("sorted batches cost batch norm more than the plain net", data.name, unit, added[1], added[0]),
        Fact("what they cost the plain net", data.name, unit, found["never"][0], found["each"][0], stated=False),
        Fact("what they cost batch norm", data.name, unit, found["never"][1], found["each"][1], stated=False),
    ]


if __name__ == "__main__":
    show(measure())
