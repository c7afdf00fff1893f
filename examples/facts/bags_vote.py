"""Open: does a vote of bags beat one network trained on all the data (D2)? Measured, whatever comes out.

Five bootstrap bags that vote against one network, each of 32 hidden units, on three data sets. Varied before: width and
epochs, for time (64 units, longer: −0.2 digits, +2.3 wine, +0.6 breast-cancer, none of them decided).
"""

from evidence import SEEDS, Fact, errors, show, train

import equipoise as eq
from equipoise import techniques as T

SETS = {"digits": 10, "wine": 30, "breast-cancer": 20}  # epochs


def measure(seeds=SEEDS) -> list[Fact]:
    facts = []
    for name, epochs in SETS.items():
        data, both = eq.Data.load(name), (T.He(), T.Adam(0.003))
        one, bags = (
            errors(train("mlp(hidden=(32,))", [r], data, seeds, epochs=epochs)[0])
            for r in (eq.Recipe(*both), eq.Recipe(*both, T.Bagging(5)))
        )
        facts.append(Fact("one net over a vote of five bags", name, "points of error", one, bags, stated=False))
    return facts


if __name__ == "__main__":
    show(measure())
