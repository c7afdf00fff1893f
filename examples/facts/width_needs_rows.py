"""A wider plain network needs more rows (D2).

Diabetes (442 noisy rows, regression), one hidden layer of 4 or of 128 units, trained long with nothing that
regularizes, on 60 rows and on 265. On 60 rows the wide net loses; that it loses more there than on all rows did not
come out at this size, so nothing is claimed of it. Varied before: the number of steps, for time.
"""

import numpy as np
from evidence import SEEDS, Fact, show, train

import equipoise as eq
from equipoise import techniques as T

NARROW, WIDE, FEW, STEPS, BATCH = 4, 128, 60, 300, 60


def measure(seeds=SEEDS) -> list[Fact]:
    data, rmse = eq.Data.load("diabetes"), {}
    recipe = eq.Recipe(T.He(), T.Adam(0.01))
    for n in (FEW, len(data.rows["fit"])):
        some, epochs = data.with_rows({"fit": data.rows["fit"][:n]}), STEPS // -(-n // BATCH)
        for width in (WIDE, NARROW):
            [runs] = train(f"mlp(hidden=({width},))", [recipe], some, seeds, epochs=epochs, batch_size=BATCH)
            rmse[n, width] = np.array([r.score("assess")["rmse"] for r in runs])
    cost = {n: rmse[n, WIDE] - rmse[n, NARROW] for n, _ in rmse}
    return [
        Fact(
            f"on {FEW} rows the wide net loses to the narrow one", data.name, "rmse", rmse[FEW, WIDE], rmse[FEW, NARROW]
        ),
        Fact("and by more than on all rows", data.name, "rmse", cost.pop(FEW), *cost.values(), stated=False),
    ]


if __name__ == "__main__":
    show(measure())
