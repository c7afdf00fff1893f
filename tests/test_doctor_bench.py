"""The doctor's labelled benchmark: its changes do what they say, its scores are right, and a slice of it holds."""

from __future__ import annotations

import json
import math
import pickle
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from benchmarks.doctor import baselines, calibrate, changes, score
from benchmarks.doctor.faults import CONTROLS, FAULTS, STRONG
from benchmarks.doctor.programs import CALIBRATE, HELD_OUT, PROGRAMS, Program, Setup
from benchmarks.doctor.run import Case, cases, ran, watched
from equipoise import probes
from equipoise.doctor.diagnose import judged


def program(name: str) -> Program:
    return next(p for p in PROGRAMS if p.name == name)


@pytest.fixture
def digits() -> Setup:
    return program("digits-relu").setup()


def built(setup: Setup) -> nn.Module:
    torch.manual_seed(0)
    assert not isinstance(setup.build, nn.Module)
    return setup.build()


# --- what it is made of -----------------------------------------------------------------------------------------------
def test_enough_programs_are_held_out():
    parts = [p.part for p in PROGRAMS]
    assert len(PROGRAMS) >= 12
    assert parts.count(HELD_OUT) >= 6
    assert parts.count(HELD_OUT) + parts.count(CALIBRATE) == len(parts)
    assert len({p.name for p in PROGRAMS}) == len(PROGRAMS)


def test_enough_healthy_runs_and_every_fault_on_both_sides():
    every = list(cases())
    assert sum(c.kind == "healthy" and c.program.part == HELD_OUT for c in every) >= 120
    for part in (CALIBRATE, HELD_OUT):
        assert {c.what for c in every if c.program.part == part} >= {f.name for f in FAULTS}
    assert len({c.name for c in every}) == len(every)


PACKAGED = ("digits", "cancer", "wine", "diabetes")  # whose data come with scikit-learn


@pytest.mark.parametrize("p", [p for p in PROGRAMS if p.name.startswith(PACKAGED)], ids=lambda p: p.name)
def test_traits_say_what_the_data_are(p: Program):
    data = p.source()
    assert ("regress" in p.traits) == (data.task == "regress")
    assert ("numbers" in p.traits) <= (data.kind == "table")


def test_causes_are_instruments():
    assert {c for f in FAULTS for c in f.causes} <= set(probes.names())
    assert len({f.name for f in FAULTS} | {c.name for c in CONTROLS}) == len(FAULTS) + len(CONTROLS)


# --- changes ----------------------------------------------------------------------------------------------------------
def test_networks_are_spoiled_as_told(digits: Setup):
    plain, small = built(digits), built(changes.scaled(digits, 0.1))
    for a, b in zip(changes.weights(plain), changes.weights(small), strict=True):
        assert torch.allclose(0.1 * a, b)
    alike = built(changes.constant(digits, 0.1))
    assert all(bool((p == 0.1).all()) for p in changes.weights(alike))
    assert all(bool((p == 0).all()) for n, p in alike.named_parameters() if "bias" in n)
    dead = changes.hidden(built(changes.dead(digits, 0.8)))
    assert [float((m.bias == -20).float().mean()) for m in dead] == pytest.approx([0.8, 0.8], abs=0.02)
    x = torch.randn(5, 64)
    assert torch.allclose(built(changes.squashed(digits, 1))(x), plain(x).softmax(-1))


def test_dropout_stands_in_front_of_each_batch_norm():
    net = built(changes.dropped(program("cancer-norm").setup(), 0.5))
    pairs = [m for m in net.modules() if isinstance(m, nn.Sequential) and isinstance(m[0], nn.Dropout)]
    assert [type(m[1]) for m in pairs] == [nn.BatchNorm1d, nn.BatchNorm1d]


def test_rows_are_only_put_in_order(digits: Setup):
    ordered = changes.in_order(digits, 0.0)
    fit = digits.data.rows["fit"]
    y = ordered.data.y[ordered.data.rows["fit"]]
    assert bool((y.diff() >= 0).all())
    assert ordered.shuffle == "never"
    a, b = (s.data.inputs[0] for s in (digits, ordered))
    assert torch.equal(a[fit].sort(0).values, b[fit].sort(0).values)
    others = torch.cat([v for k, v in digits.data.rows.items() if k != "fit"])
    assert torch.equal(a[others], b[others])


def test_labels_change_places_and_rows_go(digits: Setup):
    wrong, fewer = changes.mislabelled(digits, 0.4), changes.few(digits, 0.06)
    fit = digits.data.rows["fit"]
    y, noisy = digits.data.y[fit], wrong.data.y[fit]
    assert torch.equal(y.sort().values, noisy.sort().values)
    # .4 of the rows swap among ten classes: .36 come out wrong; five binomial standard errors of 550 rows
    assert abs(float((y != noisy).double().mean()) - 0.36) < 5 * math.sqrt(0.36 * 0.64 / 550)
    kept = fewer.data.rows["fit"]
    assert len(kept) == 33
    assert set(kept.tolist()) <= set(fit.tolist())
    assert set(fewer.data.y[kept].tolist()) == set(range(10))
    steps = fewer.epochs * -(-33 // fewer.batch)
    assert abs(steps - digits.epochs * -(-550 // 32)) <= 33


def test_only_what_judges_is_moved(digits: Setup):
    moved = changes.moved(digits, 3.0)
    fit, assess = (digits.data.rows[k] for k in ("fit", "assess"))
    a, b = (s.data.inputs[0] for s in (digits, moved))
    assert torch.equal(a[fit], b[fit])
    assert float((b[assess] - a[assess]).max()) > 0


# --- scores -----------------------------------------------------------------------------------------------------------
def test_the_gap_is_measured_from_the_twin_and_never_from_infinity():
    given, mended, twin = np.array([1.0, 1.0, 2.3, 0.2]), np.array([0.6, np.nan, 2.3, 0.1]), np.array([0.2] * 4)
    found = score.closed(given, mended, twin)
    assert found[0] == pytest.approx(0.5)
    assert np.isnan(found[1]) and found[2] == 0 and np.isnan(found[3])


def results() -> pd.DataFrame:
    """Two programs, three seeds: one fault that harms two of three seeds, one that harms one of three."""
    rows = []
    for p, finds in (("a", True), ("b", False)):
        for seed in range(3):
            common = {"program": p, "seed": seed, "severity": 0, "constant": 2.0, "debugger": [], "autotrainer": ["x"]}
            rows.append(common | {"kind": "healthy", "what": "plain", "loss": 0.5, "mended": None, "findings": []})
            found = [["update_ratio", "all layers", 1.0]] if finds else []
            harm = 1.0 if seed else 0.4
            fault = common | {"kind": "fault", "mended": 0.6}
            rows.append(fault | {"what": "rate low", "loss": harm, "findings": found})
            rows.append(fault | {"what": "dead units", "loss": 1.4 - harm, "findings": found})
    return pd.DataFrame(rows)


def test_harm_is_a_matter_of_most_seeds():
    cases = score.labelled(results())
    assert set(cases[cases.harmful].what) == {"rate low"}
    assert int(cases.harmful.sum()) == 6
    found = score.summary(cases)
    assert (found["recall"].k, found["recall"].n) == (3, 6)
    assert (found["false alarms"].k, found["false alarms"].n) == (0, 6)
    assert found["right first cause, of those found"].value == 1
    assert (found["recall"].low, found["recall"].high) == (0, 1)  # of two programs one is found whole, one not at all
    closing = found["remedy closes half of the gap"]
    assert (closing.k, closing.n) == (4, 4)  # (1 − .6)/(1 − .5) = .8 where there is a gap
    assert score.baseline(cases, "autotrainer")["false alarms"].value == 1


def test_faults_that_are_half_run_are_left_out():
    cases = results()
    short = cases[~((cases.what == "dead units") & (cases.seed == 2))]
    assert set(score.complete(short).what) == {"plain", "rate low"}
    assert len(score.complete(cases)) == len(cases)


def test_an_interval_over_programs():
    """Ten programs of equal size, five with all hits: the count of drawn hits is binomial(10, ½)."""
    frame = pd.DataFrame({"program": np.repeat(np.arange(10), 4)})
    found = score.share(frame, frame.program < 5)
    assert found.value == 0.5
    assert (found.low, found.high) == (0.2, 0.8)  # binomial quantiles 2 and 8 of 10


# --- the thresholds of other tools ------------------------------------------------------------------------------------
def test_published_thresholds():
    assert not baselines.overfits([0.50] * 3, [0.55] * 3)  # (.55 − .50)/.50 is .1, not over it
    assert baselines.overfits([0.50] * 3, [0.56] * 3)
    assert not baselines.overfits([0.50] * 3, [0.56, 0.50, 0.56])  # never twice in turn
    assert baselines.slow([0.1, 0.105, 0.11]) and not baselines.slow([0.1, 0.12])
    assert baselines.oscillates([0.5, 0.6, 0.5, 0.6, 0.5]) and not baselines.oscillates([0.5, 0.6, 0.7, 0.8, 0.79])


# --- a slice of the calibration part, on data that packages carry -----------------------------------------------------
ILL = (
    ("digits-relu", "rate high"), ("digits-relu", "start too large"), ("digits-relu", "dead units"),
    ("digits-relu", "squashed outputs"), ("cancer-tanh-deep", "start too small"),
    ("cancer-tanh-deep", "unscaled inputs"), ("wine-sigmoid", "constant start"), ("wine-sigmoid", "rate low"),
    ("wine-sigmoid", "saturated start"), ("cancer-norm", "tiny batch"), ("cancer-norm", "sorted rows"),
    ("diabetes-relu", "few rows"), ("digits-residual", "split shift"), ("digits-relu", "wrong labels"),
    ("digits-lstm", "exploding cells"),
)  # fmt: skip
WELL = (
    ("digits-relu", "plain"), ("digits-relu", "zero head"), ("digits-relu", "sparse"),
    ("digits-residual", "zero branches"), ("wine-sigmoid", "plain"), ("wine-sigmoid", "heavy tails"),
    ("wine-sigmoid", "tuned gently"), ("cancer-tanh-deep", "plain"), ("cancer-tanh-deep", "warm-up"),
    ("cancer-norm", "plain"), ("cancer-norm", "label smoothing"), ("diabetes-relu", "plain"),
)  # fmt: skip


def seen(kind: str, name: str, what: str, severity: int) -> tuple[list[str], float]:
    """The probes that find something, first causes first, and how much was learned."""
    trace, _ = watched(Case(program(name), kind, what, severity, 0).setup(), 0)
    return [f.probe for f in judged(trace)[0]], trace.learned


def test_a_slice_of_faults_is_found_and_named():
    causes = {f.name: f.causes for f in FAULTS}
    found = {(n, w): seen("fault", n, w, STRONG)[0] for n, w in ILL}
    missed = [k for k, v in found.items() if not v]
    wrong = {k: v for k, v in found.items() if v and v[0] not in causes[k[1]]}
    assert len(missed) <= 1, missed  # all fifteen where the thresholds were chosen; another machine may round one away
    assert len(missed) + len(wrong) <= 1, wrong


def test_a_slice_of_healthy_runs_is_left_alone():
    found = {(n, w): seen("healthy", n, w, 0) for n, w in WELL}
    assert all(learned > 0.5 for _, learned in found.values())
    alarms = {k: v for k, (v, _) in found.items() if v}
    assert len(alarms) <= 1, alarms


def test_a_case_is_one_line(tmp_path: Path):
    case = Case(program("wine-sigmoid"), "fault", "rate low", STRONG, 0)
    line = json.loads(json.dumps(ran(case, tmp_path), allow_nan=False))
    assert line["case"] == "wine-sigmoid/rate low/1/0"
    assert line["findings"][0][0] == "update_ratio"
    assert line["mended"] < line["loss"]
    assert line["loss"] == pytest.approx(
        line["constant"], rel=0.2
    )  # nothing is learned at a ten-thousandth of the rate
    assert len(list(tmp_path.iterdir())) == 1


def test_judging_again_finds_the_same(tmp_path: Path):
    """The recorded trace gives the findings of the training; another threshold gives others."""
    case = Case(program("digits-relu"), "fault", "dead units", 0, 0)
    line = ran(case, tmp_path)
    measures, trace = pickle.loads((tmp_path / f"{case.name.replace('/', '~')}.pickle").read_bytes())
    again = calibrate.findings(calibrate.changed({}), measures, trace)
    assert [[f.probe, f.where, pytest.approx(f.value, rel=1e-4)] for f in again] == line["findings"]
    assert line["findings"][0][0] == "dead_units"
    silent = calibrate.findings(calibrate.changed({"dead_units.warn": 0.9, "dead_units.fault": 0.9}), measures, trace)
    assert "dead_units" not in {f.probe for f in silent}
