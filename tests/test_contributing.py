"""The worked example of CONTRIBUTING.md, followed to the letter: two files in a copy of the project, its tests."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
NAME = "gradient_centralization"


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A copy of the project with the example's source and test file added."""
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    assert text.count("\n") <= 60
    source, test = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    for folder in ("src", "tests"):
        shutil.copytree(ROOT / folder, tmp_path / folder, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    (tmp_path / f"src/equipoise/techniques/optimizers/{NAME}.py").write_text(source, encoding="utf-8")
    (tmp_path / f"tests/techniques/test_{NAME}.py").write_text(test, encoding="utf-8")
    return tmp_path


def passed(project: Path, *arguments: str) -> int:
    """Number of tests that passed; fails with their output where one did not."""
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *arguments]
    environment = {**os.environ, "PYTHONPATH": str(project / "src")}
    out = subprocess.run(command, cwd=project, capture_output=True, text=True, env=environment, check=False)
    assert out.returncode == 0, out.stdout[-3000:] + out.stderr[-1000:]
    count = re.search(r"(\d+) passed", out.stdout)
    return int(count[1]) if count else 0


def test_the_example_passes_its_own_test(project: Path):
    assert passed(project, f"tests/techniques/test_{NAME}.py") == 1


def test_the_examples_test_fails_when_a_sign_is_flipped(project: Path):
    file = project / f"src/equipoise/techniques/optimizers/{NAME}.py"
    file.write_text(file.read_text().replace("g - self.w", "g + self.w"))
    with pytest.raises(AssertionError, match="1 failed"):
        passed(project, f"tests/techniques/test_{NAME}.py")


@pytest.mark.slow
def test_the_example_keeps_the_contract_of_techniques(project: Path):
    assert passed(project, "tests/test_contract.py", "-k", "GradientCentralization") > 10
