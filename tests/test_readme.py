"""The README's example is run, and its printed output is the real one."""

from __future__ import annotations

import contextlib
import io
import re
from pathlib import Path

README = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")


def test_the_example_prints_what_the_readme_says() -> None:
    code = re.search(r"```python\n(.*?)```\s*```\n(.*?)```", README, re.S)
    assert code is not None
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        exec(code[1], {"__name__": "example"})
    want, got = code[2].split(), out.getvalue().split()
    assert len(want) == len(got)
    for a, b in zip(want, got, strict=True):  # another processor may round one image over the edge
        number = re.fullmatch(r"\d+\.\d+", a)
        assert abs(float(a) - float(b)) <= 0.008 if number else a == b


def test_the_example_has_twelve_lines_or_fewer() -> None:
    code = re.search(r"```python\n(.*?)```", README, re.S)
    assert code is not None
    assert len([line for line in code[1].splitlines() if line.strip()]) <= 12


def test_every_link_leads_somewhere() -> None:
    root = Path(__file__).parents[1]
    for target in re.findall(r"\]\(([^)#:]+)\)", README):
        assert (root / target).exists(), target
