"""A study small enough to run many times, and what of it must not depend on how it came about."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from equipoise.data import Data
from equipoise.files import to_json
from equipoise.plan import Options
from equipoise.recipe import Recipe, parse
from equipoise.study import Study, conduct, study
from equipoise.study.store import Store

ROWS = 120
NETWORK = "mlp(hidden=(4,))"
EAGER = Options(threads=1, compile="never", progress=False)
TIMED = ("seconds", "costs")
SIZES = [3, 3, 3, 3, 4, 4, 3, 3]  # runs of its cohorts: two per seed block, of the half-splits, of the confirmation


def data(shift: float = 0.0, seed: int = 0, groups: Any = None) -> Data:
    """Two classes that a line parts, with some overlap."""
    rng = np.random.default_rng(5)
    y = np.arange(ROWS) % 2
    x = rng.normal(size=(ROWS, 2)) + 1.5 * y[:, None] + shift
    return Data(x.astype(np.float32), y, name="small", seed=seed, groups=groups)


def small(**given: Any) -> Study:
    """Start values of zero against He's, which pays: every phase has something to do. Two programs, and noise."""
    how: dict[str, Any] = {
        "model": NETWORK, "recipe": "AdamW(0.05),Dropout(0.2)", "data": data(), "techniques": "Constant(0)|He",
        "seeds": 2, "epochs": 2, "batch_size": 36, "options": EAGER, **given,
    }  # fmt: skip
    recipe = Recipe(*(parse(t) for t in how.pop("recipe").split(",")))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(conduct, "CONFIRM_SEEDS", 3)
        patch.setattr(Study, "report", lambda self, path: Path(path).write_text("a page is drawn elsewhere"))
        return study(how.pop("model"), recipe, how.pop("data"), how.pop("techniques"), **how)


def said(found: Study) -> str:
    """All a study says, bit for bit, but what was timed; with the scores of every run."""
    told, facts = ({k: v for k, v in d.items() if k not in TIMED} for d in (found.to_dict(), found.facts))
    more = [told, found.notes, facts, found.trained.histories, [repr(r) for r in found.by_rate]]
    return to_json(more) + repr({m: v.tobytes().hex() for m, v in found.trained.scores.items()})


class Dies(BaseException):
    """In place of a kill: nothing of ours may catch it, but what every exception passes through."""


def dies_after(cohorts: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """The process is gone when so many cohorts are recorded: claims are not handed back."""
    record, done = Store.record, []

    def until(self: Store, *given: Any) -> bool:
        if len(done) == cohorts:
            raise Dies
        done.append(1)
        return record(self, *given)

    monkeypatch.setattr(Store, "record", until)
    monkeypatch.setattr(Store, "release", lambda self, worker: None)
