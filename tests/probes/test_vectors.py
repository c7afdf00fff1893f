"""The numeric vectors of the doctor, A-1 to A-19: all of them are tested, each beside its probe, A-14 here."""

from __future__ import annotations

import math
import re
from pathlib import Path

import pytest
from scipy import stats

from benchmarks.doctor.programs import HELD_OUT
from benchmarks.doctor.run import cases


def upper(alarms: int, runs: int) -> float:
    """One-sided 95 % bound of the rate, exact (Clopper and Pearson 1934)."""
    return float(stats.binomtest(alarms, runs, alternative="less").proportion_ci(0.95, method="exact").high)


def test_fifty_nine_silent_runs_show_five_percent():
    """Vector A-14: 0 of n bounds the rate by 1 − .05^(1/n), which is 5 % at n = ln .05/ln .95 = 58.4."""
    assert math.log(0.05) / math.log(0.95) == pytest.approx(58.4, abs=0.05)
    assert upper(0, 59) == pytest.approx(1 - 0.05 ** (1 / 59), rel=1e-9)
    assert upper(0, 59) <= 0.05 < upper(0, 58)


def test_the_benchmark_has_runs_enough_to_show_it():
    """With the held-out healthy runs the bound is reached with one alarm at least."""
    runs = sum(c.kind == "healthy" and c.program.part == HELD_OUT for c in cases())
    assert upper(1, runs) <= 0.05


def test_every_vector_has_its_test():
    texts = [p.read_text(encoding="utf-8") for p in sorted(Path(__file__).parent.glob("test_*.py"))]
    named = {
        int(k) for t in texts for line in re.findall(r"[Vv]ectors? A-[^.:\n]*", t) for k in re.findall(r"A-(\d+)", line)
    }
    assert named == set(range(1, 20))
