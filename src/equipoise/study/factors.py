"""The questions of a study: factors from text or techniques, the defaults, and what a factor does to the base."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from .. import techniques as T
from ..errors import EquipoiseError
from ..literals import split_outside
from ..recipe import Recipe, parse
from ..technique import Technique, slot_of
from .design import Factor

if TYPE_CHECKING:
    from ..data import Data

INTERACTIONS = (  # declared beforehand: the pairs of METHODS B.2 that are no alias of one another in the default design
    ("BatchNorm", "Dropout"), ("BatchNorm", "WeightDecay"), ("MixUp", "LabelSmoothing"), ("MixUp", "Dropout"),
    ("BatchNorm", "Cosine"),
)  # fmt: skip


@dataclass(frozen=True)
class Question:
    """One factor: its levels as recipe entries; None is the base as it is ("none")."""

    name: str
    entries: tuple[Technique | None, ...]

    @property
    def factor(self) -> Factor:
        return Factor(self.name, tuple("none" if e is None else repr(e) for e in self.entries))


def question(text: str) -> Question:
    """``Dropout(0.3)`` (off or on), ``Dropout(0.2)|Dropout(0.5)``, ``none|BatchNorm|LayerNorm``: first level = off."""
    parts = [p.strip() for p in split_outside(text, "|")]
    entries = tuple(None if p == "none" else parse(p) for p in parts)
    if len(entries) == 1:
        entries = (None, *entries)
    if (entries[0] is None and len(entries) == 2 and entries[1] is None) or len(set(entries)) < len(entries):
        raise EquipoiseError(f"the factor {text!r} needs two different levels, such as Dropout(0.2)|Dropout(0.5).")
    return Question(_name(entries), entries)


def _name(entries: Sequence[Technique | None]) -> str:
    """The technique's own name where all levels are of one class, else the slot they compete for."""
    classes = list(dict.fromkeys(type(e).__name__ for e in entries if e is not None))
    if len(classes) == 1:
        return classes[0]
    slots = {slot_of(e) for e in entries if e is not None}
    return slots.pop() or "|".join(classes) if len(slots) == 1 else "|".join(classes)


def questions(given: Any) -> list[Question]:
    """From a comma list, or a sequence of texts, techniques, and sequences of techniques (None for "none")."""
    if isinstance(given, str):
        given = [p for p in split_outside(given, ",") if p.strip()]
    found: list[Question] = []
    for g in given:
        if isinstance(g, str):
            found.append(question(g))
        elif isinstance(g, Technique):
            found.append(Question(type(g).__name__, (None, g)))
        elif isinstance(g, Question):
            found.append(g)
        else:
            found.append(Question(_name(tuple(g)), tuple(g)))
    counts: dict[str, int] = {}
    out = []
    for q in found:  # two questions about one technique get numbers
        counts[q.name] = counts.get(q.name, 0) + 1
        out.append(q if counts[q.name] == 1 else Question(f"{q.name}#{counts[q.name]}", q.entries))
    if not out:
        raise EquipoiseError("no technique to study: name at least one, such as --techniques Dropout,BatchNorm.")
    return out


def default_questions(data: Data) -> list[Question]:
    """The factors of CONTRACT §10 for this kind of data."""
    classify = [T.LabelSmoothing(0.1)] if data.task == "classify" else []
    if data.kind == "image":
        flip = [T.FlipHorizontal()] if "flip_horizontal" in data.preserves else []
        entries = [
            T.BatchNorm(),
            T.Dropout(0.3),
            T.WeightDecay(),
            *classify,
            T.MixUp(0.2),
            T.RandomAffine(),
            T.Cosine(),
            *flip,
        ]
    else:
        entries = [
            T.BatchNorm(),
            T.Dropout(0.2),
            T.WeightDecay(),
            *classify,
            T.MixUp(0.2),
            T.GaussianNoise(),
            T.Cosine(),
        ]
    return [Question(type(e).__name__, (None, e)) for e in entries]


def base_of(recipe: Recipe, asked: Iterable[Question]) -> Recipe:
    """The resolved recipe without any factor: an entry that a factor puts in is taken out first."""
    base = recipe
    for q in asked:
        for e in q.entries:
            if e is not None and e in base and q.entries[0] is None:
                base = _without(base, e)
    return base


def _without(recipe: Recipe, entry: Technique) -> Recipe:
    from ..recipe import NEVER_EMPTY, SLOTS
    from ..technique import Empty

    slot = slot_of(entry)
    if slot in NEVER_EMPTY:
        raise EquipoiseError(
            f"{entry!r} is the {slot} of the base recipe, which cannot be left empty: study two levels, A|B."
        )
    return Recipe(*(Empty(slot) if e == entry and slot in SLOTS else e for e in recipe if e != entry or slot in SLOTS))


def arm(base: Recipe, asked: Sequence[Question], levels: Sequence[int]) -> Recipe:
    """The base with every factor at its level."""
    out = base
    for q, level in zip(asked, levels, strict=True):
        entry = q.entries[level]
        if entry is not None:
            out = out.plus(entry)
    return out


def feasible(base: Recipe, asked: Sequence[Question], data: Data, explicit: bool) -> tuple[list[Question], list[str]]:
    """The factors this data can run; a default that cannot be run is left out and named, one asked for is refused."""
    kept, left = [], []
    for q in asked:
        try:
            for e in q.entries:
                if e is not None:
                    check_entry(e, data)
                    base.plus(e)
            kept.append(q)
        except EquipoiseError as err:
            if explicit:
                raise
            left.append(f"{q.name} is left out: {err}")
    return kept, left


def check_entry(t: Technique, data: Data) -> None:
    if data.kind not in t.kinds:
        raise EquipoiseError(
            f"{t!r} is for {' and '.join(t.kinds)} data; {data.name} is {data.kind} data: leave it out."
        )
    if data.task not in t.tasks:
        raise EquipoiseError(f"{t!r} is for {' and '.join(t.tasks)}, but the task is {data.task}: leave it out.")


def declared(asked: Sequence[Question], pairs: Iterable[tuple[str, str]] = INTERACTIONS) -> list[tuple[int, int]]:
    """The declared interactions among the factors, as pairs of factor numbers; a factor of several levels stands for
    each of its techniques."""
    place: dict[str, int] = {}
    for i, q in enumerate(asked):
        for name in (q.name, *(type(e).__name__ for e in q.entries if e is not None)):
            place.setdefault(name, i)
    found = [(place[a], place[b]) for a, b in pairs if a in place and b in place and place[a] != place[b]]
    return list(dict.fromkeys(found))
