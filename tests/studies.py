"""A study made of planted effects, through the design, effects, rates, trade and recommendation of a real one."""

from __future__ import annotations

import numpy as np

from equipoise import techniques as T
from equipoise.recipe import Recipe
from equipoise.study.design import Factor, make_design
from equipoise.study.effects import effects
from equipoise.study.execute import Trained
from equipoise.study.finished import Study
from equipoise.study.rates import by_rate
from equipoise.study.recommend import confirm, recommend
from equipoise.study.tradeoff import FORMS, trade

NAMES = ("BatchNorm", "Dropout", "WeightDecay", "LabelSmoothing", "MixUp", "RandomAffine", "Cosine")
GAINS = (-0.30, 0.25, 0.0, -0.05, 0.0, -0.10, 0.02)
RATES = (0.25, 1.0, 4.0)
LOSSES = ("cross-entropy", "zero-one")
HOSTILE = '<script src="https://evil.example/x.js">alert(1)</script> & "$\\frac{1}{2}$"'


def history(loss: float, epochs: int, rng: np.random.Generator) -> list[dict[str, float]]:
    curve = loss + np.exp(-np.arange(epochs) / 4.0) + rng.normal(0, 0.01, epochs)
    return [{"epoch": float(e + 1), "loss": v, "stop_loss": float(v)} for e, v in enumerate(curve)]


def made(
    names: tuple[str, ...] = NAMES,
    *,
    rates: tuple[float, ...] = RATES,
    epochs: int = 12,
    fails: int = 0,
    same: str = "",
) -> Study:
    """``fails``: how many runs diverged; ``same``: a technique that changes no bit."""
    rng = np.random.default_rng(3)
    design = make_design([Factor(n, ("none", f"{n}(x=0.3)")) for n in names], interactions=[(0, 1)], seed=5)
    gains = np.array([0.0 if n == same else g for n, g in zip(names, GAINS, strict=False)])
    mean = 1.5 + design.matrix @ gains
    shape = (design.configurations, len(rates), 3, 60)
    y = mean[:, None, None, None] + rng.normal(0, 0.02, shape[:3])[..., None] + rng.normal(0, 0.2, shape)
    if same:  # the runs with and without this technique are the same bits
        k = names.index(same)
        others = np.delete(design.matrix, k, axis=1)
        for c in range(len(others)):
            twin = np.flatnonzero((others == others[c]).all(1))[0]
            y[c] = y[twin]
    failed = np.zeros(shape[:3], dtype=bool)
    failed.ravel()[:fails] = True
    scores = {"loss": y, "accuracy": 1.0 / (1.0 + np.exp(y))}
    histories = [[[history(m, epochs, rng) for _ in range(3)] for _ in rates] for m in mean]
    stop = y.mean(-1)
    trained = Trained(scores, stop, failed, rng.uniform(1, 2, shape[:3]), histories, [], 2)
    middle = {m: v[:, len(rates) // 2] for m, v in scores.items()}
    found = effects(design, middle, primary="loss")
    choice = recommend(design, middle["loss"], found)
    halves = rng.normal(0, 0.1, (design.configurations, 2, 2, 60, 2)) + 0.3 * mean[:, None, None, None, None]
    p = np.exp(halves) / np.exp(halves).sum(-1, keepdims=True)
    baseline, candidate = Recipe(T.CrossEntropy(), T.AdamW()), Recipe(T.CrossEntropy(), T.AdamW(), T.BatchNorm())
    fresh = rng.normal(1.0, 0.1, (10, 50))
    return Study(
        {"data": "digits", "model": "mlp(hidden=(16,))", "base": ["CrossEntropy"], "primary": "loss", "smallest": 0.03},
        design,
        found,
        choice,
        candidate,
        baseline,
        confirm(fresh, fresh + 0.3 + rng.normal(0, 0.05, fresh.shape), metric="loss", better="lower"),
        trained,
        [0, 1, 2],
        rates,
        trade(design, halves, np.zeros((60, 2)), effects=found, n=539),
        by_rate(design, y, rates, "lower") if len(rates) > 1 else (),
        {"compile": 0.0, "train": 30.0, "total": 41.0},
        ["Dropout acts at 1 of 2 affine maps."],
        {
            "versions": {"equipoise": "0.1.0", "torch": "2.13.0"}, "fingerprint": "3152ef29", "source": "scikit-learn",
            "seed": 0, "epochs": epochs, "batch_size": 64,
            "roles": {"fit": 1078, "stop": 180, "assess": 270, "test": 269},
            "command": "equipoise study digits --seeds 3",
            "costs": [
                {"technique": n, "step seconds on": 0.004, "step seconds off": 0.002, "bytes on": 3e6, "bytes off": 2e6}
                for n in names
            ],
        },
        1,
        forms={f: trade(design, p, np.eye(2)[[0, 1] * 30], effects=found, n=539, form=FORMS[f]) for f in LOSSES},
    )  # fmt: skip
