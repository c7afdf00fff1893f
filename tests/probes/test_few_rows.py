"""Rows that teach against rows that judge: the rule on losses made up by hand."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch

from equipoise.probes.few_rows import FewRows


def trace(fit_rows: int, gap: float, failed: str = "") -> Any:
    """Losses 1 ± ½ on 100 rows, on stop ``gap`` more: their difference has a standard error of .07."""
    base = torch.tensor([0.5, 1.5] * 50).double()
    return SimpleNamespace(rows={"fit": fit_rows, "stop": 100}, stop=[base + gap], fit=base, failed=failed)


@pytest.mark.parametrize(
    ("fit_rows", "gap", "speaks"),
    [
        (40, 0.2, True),
        (99, 0.2, True),
        (100, 0.2, False),  # as many as judge
        (40, 0.1, False),  # few, and it is not shown to cost anything
        (40, 0.0, False),
        (400, 1.0, False),  # enough
    ],
)
def test_few_rows_that_cost(fit_rows: int, gap: float, speaks: bool):
    probe, t = FewRows(), trace(fit_rows, gap)
    found = probe.judge(probe.measure(t), t)
    assert bool(found) == speaks
    if speaks:
        assert found[0].value == pytest.approx(fit_rows / 100)
        assert found[0].proposed == ()
        failed = trace(fit_rows, gap, "the loss became non-finite at step 3")
        assert probe.judge(probe.measure(failed), failed) == []


def test_nothing_to_compare():
    two = torch.ones(2)
    for stop in ([], [two]):
        assert FewRows().measure(SimpleNamespace(rows={"fit": 2, "stop": 2}, stop=stop, fit=two)) == []  # type: ignore[arg-type]
