"""EarlyStopping against Prechelt's definitions written out, curves made by hand, and a training run."""

from __future__ import annotations

import json
import math
from itertools import pairwise

import pytest
import torch

import equipoise as eq
from equipoise import techniques as T
from equipoise.data import Data
from equipoise.errors import EquipoiseError
from equipoise.recipe import Recipe


def stopped(t: T.EarlyStopping, stop: list[float], fit: list[float] | None = None) -> tuple[int | None, int]:
    """(epoch of the stop or None, epoch of the weights kept), from 1; the state passes through JSON, as saved."""
    state, best, history = {}, 0, []
    for e, loss in enumerate(stop, 1):
        history.append({"epoch": float(e), "loss": (fit or stop)[e - 1], "rate": 0.1, "stop_loss": loss})
        state, verdict = t.epoch(history, json.loads(json.dumps(state)))
        best = e if verdict.best else best
        if verdict.stop:
            return e, best
    return None, best


# --- Prechelt's definitions, section 2.2, epochs from 1 ---------------------------------------------------------------
def gl(stop: list[float], t: int) -> float:
    return 100 * (stop[t - 1] / min(stop[:t]) - 1)


def progress(fit: list[float], t: int, k: int) -> float:
    strip = fit[t - k : t]
    return 1000 * (sum(strip) / (k * min(strip)) - 1)


def up(stop: list[float], t: int, k: int, s: int) -> bool:
    """UP_s stops after epoch t iff UP_{s−1} stops after epoch t − k and E(t) > E(t − k)."""
    return t - k >= 1 and stop[t - 1] > stop[t - k - 1] and (s == 1 or up(stop, t - k, k, s - 1))


def first(n: int, rule: object) -> int | None:
    return next((t for t in range(1, n + 1) if rule(t)), None)  # type: ignore[operator]


def curves(seed: int, n: int = 60) -> tuple[list[float], list[float]]:
    """A training loss that falls and a stop loss that falls and rises again, both noisy."""
    u = torch.rand(2, n, generator=torch.Generator().manual_seed(seed)).tolist()
    fit = [0.2 + math.exp(-e / 10) + 0.02 * v for e, v in enumerate(u[0])]
    stop = [0.5 + math.exp(-e / 6) + 0.004 * e + 0.05 * v for e, v in enumerate(u[1])]
    return fit, stop


@pytest.mark.parametrize("alpha", [None, 1.0, 10.0])
def test_generalization_loss(alpha: float | None) -> None:
    ends = set()
    for seed in range(40):
        _, stop = curves(seed)
        want = first(60, lambda t: gl(stop, t) > (5.0 if alpha is None else alpha))  # noqa: B023
        assert stopped(T.EarlyStopping("GL", alpha=alpha), stop)[0] == want
        ends.add(want)
    assert len(ends) > 3


@pytest.mark.parametrize(("alpha", "k"), [(None, 5), (0.05, 5), (0.3, 3)])
def test_progress_quotient(alpha: float | None, k: int) -> None:
    limit, ends = 0.75 if alpha is None else alpha, set()
    for seed in range(40):
        fit, stop = curves(seed)
        want = first(60, lambda t: t % k == 0 and gl(stop, t) / progress(fit, t, k) > limit)  # noqa: B023
        assert stopped(T.EarlyStopping("PQ", alpha=alpha, strip=k), stop, fit)[0] == want
        ends.add(want)
    assert len(ends) > 2


@pytest.mark.parametrize(("k", "s"), [(5, 3), (5, 1), (2, 2)])
def test_successive_rises(k: int, s: int) -> None:
    ends = set()
    for seed in range(40):
        _, stop = curves(seed)
        want = first(60, lambda t: t % k == 0 and up(stop, t, k, s))  # noqa: B023
        assert stopped(T.EarlyStopping("UP", strip=k, strips=s), stop)[0] == want
        ends.add(want)
    assert len(ends) > 2


def test_patience_by_hand() -> None:
    falling_then_flat = [3.0, 2.0, 1.0, 1.0, 1.1, 0.9, 0.95, 0.9, 0.9]
    assert stopped(T.EarlyStopping(patience=2), falling_then_flat) == (5, 3)
    assert stopped(T.EarlyStopping(patience=3), falling_then_flat) == (9, 6)
    assert stopped(T.EarlyStopping(patience=3, delta=0.2), falling_then_flat) == (6, 3)
    assert stopped(T.EarlyStopping(patience=10), falling_then_flat) == (None, 6)


@pytest.mark.parametrize("rule", ["GL", "PQ", "UP"])
def test_every_rule_keeps_the_least_stop_loss(rule: str) -> None:
    fit, stop = curves(7)
    end, best = stopped(T.EarlyStopping(rule), stop, fit)
    assert best == min(range(len(stop[:end])), key=stop.__getitem__) + 1


def test_a_loss_that_stays_has_not_risen() -> None:
    assert stopped(T.EarlyStopping("UP", strip=2, strips=1), [1.0] * 8) == (None, 1)
    assert stopped(T.EarlyStopping("UP", strip=2, strips=2), [3.0, 1.0, 3.0, 2.0, 3.0, 2.0, 9.0, 3.0, 9.0, 4.0]) == (
        10,
        2,
    )


def test_curves_without_a_ratio() -> None:
    """Zero losses, and training losses below zero (uncertainty weights): no division, no false stop."""
    assert stopped(T.EarlyStopping("GL"), [0.0, 0.0, 0.0]) == (None, 1)
    assert stopped(T.EarlyStopping("GL"), [1.0, 0.0, 1e-9]) == (3, 2)
    assert stopped(T.EarlyStopping("PQ", strip=2), [1.0, 2.0, 1.0, 2.0], [-1.0, -2.0, -3.0, -4.0]) == (None, 1)
    assert stopped(T.EarlyStopping("PQ", strip=2), [1.0, 2.0], [0.5, 0.5]) == (2, 1)  # no progress at all
    assert stopped(T.EarlyStopping(patience=2), [math.nan, math.nan, 1.0]) == (2, 0)
    assert stopped(T.EarlyStopping("GL"), [1.0, math.nan]) == (2, 1)


def test_a_training_run_ends_and_has_its_best_weights(table: Data) -> None:
    """Labels that are noise overfit at once."""
    noise = Data(table.x, torch.arange(200) % 3, name="noise")
    recipe = Recipe(T.Adam(0.02), T.EarlyStopping(patience=4))
    run = eq.train("mlp(hidden=(64,))", recipe, noise, epochs=60, batch_size=32)
    losses = [row["stop_loss"] for row in run.history]
    best = losses.index(min(losses))
    assert len(losses) == best + 5 < 60
    assert run.record.ended == f"stopped after epoch {len(losses)}: no better stop loss for 4 epochs"
    assert run.score("stop")["loss"] == pytest.approx(min(losses), rel=1e-5)
    alone = eq.train("mlp(hidden=(64,))", [T.Adam(0.02)], noise, epochs=60, batch_size=32)
    assert alone.history[best]["stop_loss"] == pytest.approx(min(losses), rel=1e-5)
    assert all(b > a for a, b in pairwise([row["epoch"] for row in run.history]))


@pytest.mark.parametrize(
    ("wrong", "rule"),
    [
        ({"patience": 0}, "patience is a whole number from 1"),
        ({"strip": 1}, "strip is a whole number from 2"),
        ({"strips": 0.5}, "strips is a whole number from 1"),
        ({"delta": -0.1}, "delta is a number from 0"),
        ({"rule": "GL", "alpha": math.inf}, "alpha is a number from 0"),
        ({"alpha": 2.0}, "'patience' has none"),
        ({"rule": "gl"}, "rule is one of"),
    ],
)
def test_wrong_options_are_refused(wrong: dict[str, object], rule: str) -> None:
    with pytest.raises(EquipoiseError, match=rule):
        T.EarlyStopping(**wrong)  # type: ignore[arg-type]
