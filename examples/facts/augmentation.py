"""More rows beat augmentation, augmentation beats nothing (D1, D3).

Digits: 200 rows, the same 200 with random shifts, rotations and scales, and all 1,078; equally many steps for all
three. One hidden layer of 64. Varied before: nothing but the number of steps, for time.
"""

from evidence import SEEDS, Fact, errors, show, train

import equipoise as eq
from equipoise import techniques as T

FEW, STEPS, BATCH = 200, 300, 50


def measure(seeds=SEEDS) -> list[Fact]:
    all_rows = eq.Data.load("digits")
    few = all_rows.with_rows({"fit": all_rows.rows["fit"][:FEW]})
    both, spoken = (T.He(), T.Adam(0.003)), "mlp(hidden=(64,))"
    length = {d: STEPS // -(-len(d.rows["fit"]) // BATCH) for d in (few, all_rows)}
    plain, augmented = (
        train(spoken, [r], few, seeds, epochs=length[few], batch_size=BATCH)[0]
        for r in (eq.Recipe(*both), eq.Recipe(*both, T.RandomAffine()))
    )
    [more] = train(spoken, [eq.Recipe(*both)], all_rows, seeds, epochs=length[all_rows], batch_size=BATCH)
    return [
        Fact(
            f"{FEW} rows lose to the same rows augmented",
            all_rows.name,
            "points of error",
            errors(plain),
            errors(augmented),
        ),
        Fact("augmented rows lose to more rows", all_rows.name, "points of error", errors(augmented), errors(more)),
    ]


if __name__ == "__main__":
    show(measure())
