"""Is a start trained already? What it explains beside what rows tell of each other's targets."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from equipoise.probes._starts import begun


def trace(explained: float, told: float | None) -> Any:
    share = None if told is None else SimpleNamespace(share=told)
    return SimpleNamespace(first=SimpleNamespace(loss=2 * (1 - explained)), constant=2.0, told=share)


@pytest.mark.parametrize(
    ("explained", "told", "trained"),
    [
        (0.3, 0.9, False),  # a drawn start explains as much of targets that are easily told
        (0.46, 0.9, True),
        (0.06, 0.1, True),  # a trained one of targets that hardly are
        (0.04, 0.1, False),
        (0.019, -0.2, False),  # rows that mislead: then two hundredths
        (0.021, -0.2, True),
        (0.09, None, False),  # too few rows to tell: a tenth
        (0.11, None, True),
    ],
)
def test_half_of_what_rows_tell(explained: float, told: float | None, trained: bool):
    assert begun(trace(explained, told)) == trained


def test_nothing_to_explain():
    assert not begun(SimpleNamespace(first=SimpleNamespace(loss=0.0), constant=0.0, told=None))  # type: ignore[arg-type]
