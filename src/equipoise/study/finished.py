"""A finished study: its numbers, its files, and making both again from its store alone."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from .. import files
from ..errors import EquipoiseError
from ..recipe import Recipe
from .design import Design
from .effects import Effects, failures
from .judged import Judged, by_rate, capped, confirmation, judged, trades
from .phases import CONFIRM, Trained
from .recommend import Confirmation, Recommendation
from .store import NAME, Store
from .terms import Terms
from .tradeoff import TradeRow

if TYPE_CHECKING:
    import pandas as pd


@dataclass
class Study:
    """A finished study. ``effects``: a DataFrame, one row per technique and metric; ``recommended``: the recipe that is
    confirmed, or the baseline; ``report(path)`` writes the page.

    ``chosen``: the learning-rate factor of every arm and seed block, cross-fitted. ``capped``: per technique, runs of
    its effect that ended worse than the fallback they are scored as. ``looks``: declared and taken. ``trades``: in
    squared loss; ``forms``: in the other losses, by name.
    """

    question: dict[str, Any]
    design: Design
    found: Effects
    recommendation: Recommendation
    candidate: Recipe
    baseline: Recipe
    confirmation: Confirmation | None
    trained: Trained
    seeds: list[int]
    rates: tuple[float, ...]
    trades: tuple[TradeRow, ...] = ()
    by_rate: tuple[Any, ...] = ()
    seconds: dict[str, float] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    facts: dict[str, Any] = field(default_factory=dict)  # everything needed to repeat it
    test_looks: int = 0
    looks: dict[str, Any] = field(default_factory=dict)
    chosen: list[list[float]] = field(default_factory=list)
    capped: dict[str, int] = field(default_factory=dict)
    forms: dict[str, tuple[TradeRow, ...]] = field(default_factory=dict)

    @property
    def effects(self) -> pd.DataFrame:
        """The effects, and beside each how many runs with the technique diverged, and how many were capped."""
        import pandas as pd

        counts = {"failed": self._failed(), "capped": self.capped}
        rows = [r.as_json() | {k: v.get(r.technique, 0) for k, v in counts.items()} for r in self.found.rows]
        return pd.DataFrame(rows)

    @property
    def recommended(self) -> Recipe:
        """The confirmed recipe; the baseline where nothing was confirmed."""
        return self.candidate if self.confirmation is not None and self.confirmation.confirmed else self.baseline

    def _failed(self) -> dict[str, int]:
        """Diverged runs per technique, at any rate; empty where none did."""
        failed = self.trained.failed
        return failures(self.design, np.asarray(failed.any(1))) if failed.any() else {}

    def to_dict(self) -> dict[str, Any]:
        """study.json of CONTRACT §11."""
        why = " ".join(self.recommendation.why)
        return {
            "schema": "equipoise/study/1", "question": self.question, "design": self.design.describe(),
            "runs": int(self.trained.stop.size), "seeds": len(self.seeds), "programs": self.trained.programs,
            "seconds": self.seconds, "failed": self._failed(), "capped": self.capped,
            "rates": {"ladder": list(self.rates), "seeds": self.seeds, "chosen": self.chosen},
            "looks": self.looks, "effects": [r.as_json() for r in self.found.rows],
            "interactions": [r.as_json() for r in self.found.interactions],
            "trade": [r.as_json() for r in self.trades],
            "trade_forms": {form: [r.as_json() for r in rows] for form, rows in self.forms.items()},
            "by_rate": [r.as_json() for r in self.by_rate], "test_looks": self.test_looks,
            "recommended": {"recipe": self.candidate.to_list(), "predicted": self.recommendation.predicted, "why": why},
            "confirmation": self.confirmation.as_json() if self.confirmation else None,
        }  # fmt: skip

    def report(self, path: str | Path) -> Path:
        """Write the self-contained page."""
        from ..report import study_page

        path = Path(path)
        files.write_text(path, study_page(self))
        return path

    def save(self, folder: str | Path) -> Path:
        """study.json last: a folder without it is unfinished."""
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        files.write_text(folder / "recipe.yaml", self.recommended.to_yaml())
        candidate = folder / "recipe.candidate.yaml"
        if self.recommended != self.candidate:
            files.write_text(candidate, self.candidate.to_yaml())
        else:
            candidate.unlink(missing_ok=True)  # of an earlier look
        files.write_text(folder / "effects.csv", self.effects.to_csv(index=False))
        self.report(folder / "report.html")
        files.write_json(folder / "study.json", self.to_dict())
        return folder

    def keep(self, folder: Path) -> None:
        """`save`, unless all of it is there already."""
        expected = ["recipe.yaml", "effects.csv", "report.html"]
        expected += ["recipe.candidate.yaml"] if self.recommended != self.candidate else []
        try:
            same = (folder / "study.json").read_text(encoding="utf-8") == files.to_json(self.to_dict())
        except (OSError, UnicodeDecodeError):
            same = False
        if not same or not all((folder / name).is_file() for name in expected):
            self.save(folder)


def load_study(folder: str | Path) -> Study:
    """The finished study in ``folder``, from its store alone: neither data nor model are needed, nothing is unpickled.

    Raises EquipoiseError where the store is missing, damaged, or of a study that is not finished, and for techniques of
    your own: a file does not choose code, so ask the study again, `study(..., out=folder, resume=True)`.
    """
    path = Path(folder) / NAME
    if not path.is_file():
        raise EquipoiseError(f"{folder} holds no study ({NAME} is not there): give a folder written by study.")
    with Store(path) as store:
        try:
            result = finished(store) if store.begun else None
            states = store.states() if store.begun else {}
        except EquipoiseError:
            raise
        except (AssertionError, AttributeError, LookupError, TypeError, ValueError) as e:
            why = " ".join(f"{type(e).__name__} {e}".split())[:80]
            raise EquipoiseError(f"{path} contradicts itself ({why}): restore it, or study into another folder.") from e
    if result is None:
        done, planned = states.get("done", 0), sum(states.values())
        raise EquipoiseError(
            f"the study in {folder} is not finished ({done} of {planned} runs planned so far): resume it."
        )
    return result


def finished(store: Store, asked: Terms | None = None) -> Study | None:
    """The study as of its last look; None where it is not finished. ``asked``: as in `Terms.from_dict`."""
    seeds, looks = store.fact("seeds"), store.looks()
    last = next((look for look in looks if look[1] == seeds), None)
    if last is None:
        return None
    terms = Terms.from_dict(store.fact("terms"), asked)
    j = judged(store, terms)
    question = {
        **terms.about, "base": terms.base.to_list(), "primary": terms.metric, "smallest": j.found.smallest,
    }  # fmt: skip
    split = trades(store, terms, j)
    told = _looks(terms, j, [len(taken) for _, taken, _ in looks])
    confirmed = {what["look"] for n in range(1, j.looks.now + 1) if (what := store.fact(f"{CONFIRM} {n}"))}
    return Study(
        question,
        terms.design,
        j.found,
        j.choice,
        j.candidate,
        j.baseline,
        confirmation(store, terms, j),
        j.trained,
        seeds,
        terms.rates,
        split.pop("squared", ()),
        by_rate(store, terms, j),
        last[2],
        [*terms.left_out, *j.trained.notes, *store.notes(), *_said(told)],
        {**terms.facts, "seeds": seeds, "looks": told, **_groups(store)},
        len(confirmed),
        told,
        [[terms.rates[int(i)] for i in row] for row in j.chosen],
        capped(terms, j),
        split,
    )


def _looks(terms: Terms, j: Judged, taken: list[int]) -> dict[str, Any]:
    """The seed blocks at the looks declared and taken, and the two-sided level that this one's 95 % intervals spend."""
    return {"declared": list(terms.looks), "taken": taken, "level": j.looks.level(0.05)}


def _groups(store: Store) -> dict[str, Any]:
    """How many groups the rows of a role fall into, where they are grouped."""
    held = {role: store.array(f"groups {role}") for role in ("assess", "test")}
    found = {role: len(np.unique(v)) for role, v in held.items() if v is not None}
    return {"groups": found} if found else {}


def _said(looks: dict[str, Any]) -> list[str]:
    """One line where there are several looks."""
    declared, taken = looks["declared"], looks["taken"]
    if len(declared) == 1:
        return []
    at = declared.index(taken[-1]) + 1
    return [
        f"look {at} of {len(declared)}, declared beforehand at {', '.join(map(str, declared))} seed blocks: intervals "
        f"and p values of effects are widened (this look's are at level {looks['level']:.2g}), so that all looks "
        f"together err in 5 %; the confirmation is at {0.05 / len(declared):.2g}. Intervals of bias², variance and "
        "single rates are not widened."
    ]
