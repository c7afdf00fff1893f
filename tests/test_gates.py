"""A run predicts with its own gate, whichever cohort of its program was trained last."""

import equipoise as eq
from equipoise import techniques as T
from equipoise.plan import STACK


def test_a_run_predicts_with_its_own_gate(table):
    recipes = [eq.Recipe(T.BatchNorm(w=0.0))] * STACK + [eq.Recipe(T.BatchNorm())]
    o = eq.Options(compile="never")
    runs = eq.train_many("mlp(hidden=(8,))", recipes, table, seeds=[0] * len(recipes), epochs=2, options=o)
    alone = eq.train("mlp(hidden=(8,))", recipes[0], table, epochs=2, options=o)
    assert abs(runs[0].score("assess")["loss"] - alone.score("assess")["loss"]) < 1e-4
