"""A run of several members (Ensemble, Bagging, Snapshot): their predictions are combined by the recipe's entry."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from .export import exportable
from .plan import Member
from .recipe import Recipe, parse
from .run import Record, Run, load_run
from .technique import Technique

if TYPE_CHECKING:
    from .data import Data


def entry_of_members(recipe: Recipe) -> Technique | None:
    """The entry that decides which members a run has, if there is one."""
    return next((t for t in recipe.active() if "runs" in t.acts_in() or hasattr(t, "snapshots")), None)


def expand(member: Member, data: Data) -> list[tuple[Member, str]]:
    """The members of one run, each with the network it takes ("" for the run's own)."""
    t = entry_of_members(member.recipe)
    if t is None or "runs" not in t.acts_in():
        return [(member, "")]
    rows = member.rows if member.rows is not None else data.rows["fit"]
    out = []
    for m, (seed, own) in enumerate(t.runs(member.seed, rows)):
        entries, model = t.kind(m) if hasattr(t, "kind") else ("", "")  # type: ignore[attr-defined]
        recipe = member.recipe
        for text in split_entries(entries):
            recipe = recipe.plus(parse(text))
        out.append((replace(member, recipe=recipe, seed=seed, rows=own), model))
    return out


def split_entries(text: str) -> list[str]:
    """The techniques of a comma list."""
    from .literals import split_outside

    return [e for e in split_outside(text, ",") if e.strip()]


class CombinedRun(Run):
    """Several trained members that predict together. ``members``: runs of their own; the state shown is the first's."""

    def __init__(
        self, entry: Technique, members: Sequence[Run], recipe: Recipe, record: Record, data: Data | None
    ) -> None:
        first = members[0]
        super().__init__(first.program, recipe, first.state, first.const, record, first.signature, data)
        self.entry, self.members = entry, list(members)

    @property
    def predictor(self) -> Any:  # type: ignore[override]
        return lambda x, samples=None: self.entry.combine(torch.stack([m.predictor(x, samples) for m in self.members]))  # type: ignore[attr-defined]

    def monte_carlo(self, x: Any) -> dict[str, float]:
        """Members have a gap each, their combination none."""
        return {}

    @property
    def model(self) -> nn.Module:
        """All members as one module that takes raw inputs: each prepares them as it was fitted."""
        return Committee([exportable(m) for m in self.members], self.entry)

    @property
    def notes(self) -> list[str]:
        return list(dict.fromkeys(n for m in self.members for n in m.notes))

    def save(self, folder: str | Path, scores: Any = None) -> Path:
        """As `Run.save`, with every member in a folder of its own."""
        for i, m in enumerate(self.members):
            m.save(Path(folder) / "members" / f"{i:03d}", {})
        return super().save(folder, scores)

    def to_dict(self, scores: Any, name: str = "") -> dict[str, Any]:
        return super().to_dict(scores, name) | {"members": len(self.members)}


class Committee(nn.Module):
    """Raw inputs to the combined prediction of trained members."""

    def __init__(self, members: Sequence[nn.Module], entry: Technique) -> None:
        super().__init__()
        self.members, self._entry = nn.ModuleList(members), entry

    def forward(self, x: Any) -> Tensor:
        return self._entry.combine(torch.stack([m(x) for m in self.members]))  # type: ignore[attr-defined]


def load(folder: str | Path, *, model: Any = None, data: Data | None = None) -> Run:
    """The run saved in ``folder``; nothing is unpickled.

    ``model``: the builder, where it was a Python object. ``data``: to score it again. Raises EquipoiseError in one line
    for a folder that is unfinished or damaged, for weights that do not fit the model, and where the saved run names
    code (``module:function``): a stranger's folder must not choose what is imported, so name it again in ``model``.
    """
    run = load_run(folder, model=model, data=data)
    entry = entry_of_members(run.recipe)
    members = Path(folder) / "members"
    if entry is None or not members.is_dir():
        return run
    each = [load_run(f, model=model, data=data) for f in sorted(members.iterdir())]
    return CombinedRun(entry, each, run.recipe, run.record, data)


__all__ = ["Committee", "CombinedRun", "entry_of_members", "expand", "load"]
