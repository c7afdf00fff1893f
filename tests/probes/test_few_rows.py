"""Rows that teach against rows that judge: the rule on errors made up by hand."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch

from equipoise.probes._told import Told
from equipoise.probes.few_rows import FewRows


def trace(fit_rows: int, stop_rows: int, by_fit: float, gap: float) -> Any:
    """Errors of stop rows 1 ± ½ told by stop, ``by_fit`` more told by fit; losses 1 ± ½, on stop ``gap`` more."""
    n = stop_rows - stop_rows % 2
    base = torch.tensor([0.5, 1.5] * (n // 2)).double()
    jitter = torch.tensor([-0.01, 0.01] * (n // 2)).double()
    told = Told(base, base + by_fit + jitter, base, base, (fit_rows, stop_rows))
    return SimpleNamespace(told=told, stop=[base + gap], fit=base, failed="")


@pytest.mark.parametrize(
    ("fit_rows", "by_fit", "gap", "speaks"),
    [
        (40, 0.2, 0.0, True),  # told better by stop
        (40, 0.0, 1.0, True),  # learned by heart
        (40, 0.0, 0.0, False),  # few, and it costs nothing
        (400, 0.2, 1.0, False),  # enough
    ],
)
def test_few_rows_that_cost(fit_rows: int, by_fit: float, gap: float, speaks: bool):
    probe, t = FewRows(), trace(fit_rows, 100, by_fit, gap)
    found = probe.judge(probe.measure(t), t)
    assert bool(found) == speaks
    if speaks:
        assert found[0].value == pytest.approx(fit_rows / 100)
        assert found[0].proposed == ()


def test_nothing_to_compare():
    assert FewRows().measure(SimpleNamespace(told=None, stop=[])) == []  # type: ignore[arg-type]
