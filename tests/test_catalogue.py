"""The pages of the catalogue are those the code makes now, and their examples are recipe entries that work."""

from __future__ import annotations

import importlib.util
import re
from functools import cache
from pathlib import Path
from types import ModuleType

import pytest

from equipoise import techniques as T
from equipoise.recipe import Recipe, parse
from equipoise.technique import knob

DOCS = Path(__file__).parents[1] / "docs"


@cache
def catalogue() -> ModuleType:
    spec = importlib.util.spec_from_file_location("catalogue", DOCS / "catalogue.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(DOCS))  # as when it is run as a program
        spec.loader.exec_module(module)
    return module


def committed() -> dict[str, str]:
    return {p.name: p.read_text(encoding="utf-8") for p in sorted((DOCS / "techniques").iterdir())}


def test_the_pages_are_those_the_code_makes() -> None:
    made, stored = catalogue().pages(), committed()
    assert sorted(made) == sorted(stored), "run `make docs`"
    stale = [name for name, text in made.items() if stored[name] != text]
    assert not stale, "run `make docs`"


def test_every_technique_is_in_the_index_once() -> None:
    linked = re.findall(r"^\| \[(\w+)\]\(\1\.md\)", committed()["index.md"], re.M)
    assert sorted(linked) == sorted(T.names())


def test_links_lead_to_pages() -> None:
    pages = committed()
    for name, text in pages.items():
        broken = [target for target in re.findall(r"\]\((\w+\.\w+)\)", text) if target not in pages]
        assert not broken, name


@pytest.mark.parametrize("name", T.names())
def test_the_example_is_one_entry_in_three_spellings(name: str) -> None:
    text = committed()[f"{name}.md"]
    (python,) = re.findall(r"```python\neq\.Recipe\(T\.(.*)\)\n```", text)
    (in_file,) = re.findall(r"```yaml\n(.*?)\n```", text, re.S)
    (flag,) = re.findall(r"--with '(.*)'\n```", text)
    (from_file,) = Recipe.from_yaml(in_file)
    assert parse(python) == parse(flag) == from_file
    assert type(from_file).__name__ == name


def test_a_range_says_which_ends_are_out() -> None:
    interval = catalogue().interval
    assert interval(knob(0.5, low=0.0, high=1.0, open="high").metadata) == "[0, 1)"
    assert interval(knob(0.5, low=0.0, open="low").metadata) == "(0, ∞)"
    assert interval(knob(0.5, high=2.0).metadata) == "(−∞, 2]"


def test_the_first_page_shows_what_plan_prints(capsys: pytest.CaptureFixture[str]) -> None:
    """All but what is timed, which is the machine's."""
    from equipoise.cli import main

    text = (DOCS / "setting-up-a-problem.md").read_text(encoding="utf-8")
    (shown,) = re.findall(r"```text\n(The problem.*?)```", text, re.S)
    with pytest.raises(SystemExit):
        main(["study", "digits", "--plan"])
    timed = r"[\d.,]+ (s|min|h|time)\b"
    here, there = (re.sub(timed, "…", t) for t in (shown, capsys.readouterr().out))
    assert here == there
