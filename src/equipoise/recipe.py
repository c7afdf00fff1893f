"""A recipe: an ordered, immutable tuple of techniques, at most one of a kind per place."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Sequence
from typing import Any

from . import techniques
from .errors import EquipoiseError, nearest
from .technique import Empty, Technique, slot_of

SLOTS = (
    "optimizer", "schedule", "warm-up", "objective", "initialization", "clip", "stop", "encoding", "inputs", "targets",
)  # fmt: skip
NEVER_EMPTY = ("optimizer", "objective")


class Recipe(tuple[Technique, ...]):
    """``Recipe(Dropout(0.3), L2(1e-4))``: data only. Hashable, picklable, ``eval(repr(r)) == r``, YAML round trip.

    Refused with one line: two entries for one slot or one place, entries that conflict, a decay in two places.
    """

    def __new__(cls, *entries: Technique | Iterable[Technique]) -> Recipe:
        flat = list(entries[0]) if len(entries) == 1 and not isinstance(entries[0], Technique) else list(entries)
        for t in flat:
            if not isinstance(t, Technique):
                raise EquipoiseError(f"a recipe holds techniques such as Dropout(0.3), got {t!r}.")
        self = super().__new__(cls, flat)  # type: ignore[arg-type]
        self._refuse_doubles()
        self._refuse_conflicts()
        return self

    def __getnewargs__(self) -> tuple[Technique, ...]:
        return tuple(self)

    def __repr__(self) -> str:
        return f"Recipe({', '.join(map(repr, self))})"

    def _refuse_doubles(self) -> None:
        seen: dict[str, Technique] = {}
        for t in self:
            place = place_of(t)
            if place in seen:
                what = f"slot {place!r}" if place in SLOTS else "one place"
                raise EquipoiseError(
                    f"{seen[place]!r} and {t!r} are both for {what}, which holds one entry: keep one of them."
                )
            seen[place] = t

    def _refuse_conflicts(self) -> None:
        names = {type(t).__name__: t for t in self}
        for t in self:
            for other, why in t.conflicts.items():
                if other in names and names[other] is not t:
                    raise EquipoiseError(f"{t!r} and {names[other]!r} exclude each other: {why} Leave one out.")
        decay = next((t for t in self if type(t).__name__ == "AdamW" and t.knobs()["decay"] != 0), None)
        if decay is not None and "WeightDecay" in names:
            raise EquipoiseError(
                f"{decay!r} and {names['WeightDecay']!r} both decay the weights: use AdamW(decay=0) with WeightDecay."
            )

    # --- look up ----------------------------------------------------------------------------------------------------
    def holder(self, slot: str) -> Technique | None:
        """The entry in a slot (an `Empty` counts as none)."""
        return next((t for t in self if slot_of(t) == slot and not isinstance(t, Empty)), None)

    def find(self, name: str) -> Technique | None:
        """The first entry of that class name."""
        return next((t for t in self if type(t).__name__ == name), None)

    def active(self) -> tuple[Technique, ...]:
        """The entries that do something: all but `Empty`."""
        return tuple(t for t in self if not isinstance(t, Empty))

    # --- change -----------------------------------------------------------------------------------------------------
    def plus(self, t: Technique) -> Recipe:
        """With ``t`` in the place of the entry of its slot (or of its class and place), else appended."""
        for i, old in enumerate(self):
            if place_of(old) == place_of(t) or self._same_class(old, t):
                return Recipe(*self[:i], t, *self[i + 1 :])
        return Recipe(*self, t)

    def _same_class(self, old: Technique, t: Technique) -> bool:
        """An entry given without a place of its own replaces the only one of its class."""
        alike = [e for e in self if type(e) is type(t)]
        return type(old) is type(t) and len(alike) == 1 and not type(t).place

    def minus(self, name: str) -> Recipe:
        """Without the entries of class ``name`` (or of the slot so named); an emptied slot is kept as `Empty`."""
        gone = [t for t in self if type(t).__name__ == name or (slot_of(t) == name and not isinstance(t, Empty))]
        if not gone:
            held = sorted({type(t).__name__ for t in self.active()})
            raise EquipoiseError(
                f"--without {name}: the recipe has no such entry.{nearest(name, held)} It holds {', '.join(held)}."
            )
        kept: list[Technique] = []
        for t in self:
            if t not in gone:
                kept.append(t)
            elif slot_of(t) in NEVER_EMPTY:
                raise EquipoiseError(
                    f"--without {name}: the {slot_of(t)} cannot be left empty; put another in with --with."
                )
            elif (slot := slot_of(t)) is not None and slot in SLOTS:
                kept.append(Empty(slot))
        return Recipe(*kept)

    def filled(self, default: Iterable[Technique]) -> Recipe:
        """With its empty slots filled from ``default``: slot fillers come first, in the default's order."""
        mine = {slot_of(t) for t in self}
        added = [t for t in default if slot_of(t) in SLOTS and slot_of(t) not in mine]
        return Recipe(*added, *self)

    # --- files ------------------------------------------------------------------------------------------------------
    def to_list(self) -> list[Any]:
        """JSON and YAML form: ``["Standardize", {"Dropout": {"p": 0.3}}]``."""
        return [
            {type(t).__name__: _plain(t.changed())} if t.changed() or isinstance(t, Empty) else type(t).__name__
            for t in self
        ]

    @classmethod
    def from_list(cls, entries: Any) -> Recipe:
        if not isinstance(entries, list):
            raise EquipoiseError(
                f"a recipe file is a list such as `- Dropout: {{p: 0.3}}`, got {type(entries).__name__}."
            )
        return cls(*(_entry(e) for e in entries))

    def to_yaml(self) -> str:
        import yaml

        return yaml.safe_dump(self.to_list(), sort_keys=False, default_flow_style=None) if self else "[]\n"

    @classmethod
    def from_yaml(cls, text: str) -> Recipe:
        import yaml

        try:
            return cls.from_list(yaml.safe_load(text))
        except (yaml.YAMLError, RecursionError) as e:
            line = f" at line {e.problem_mark.line + 1}" if getattr(e, "problem_mark", None) else ""  # type: ignore[union-attr]
            raise EquipoiseError(
                f"the recipe is not valid YAML{line}: write a list such as `- Dropout: {{p: 0.3}}`."
            ) from None


def place_of(t: Technique) -> str:
    """What one entry excludes others from: its slot (a normalization: also its sites), else its class and place."""
    slot = slot_of(t)
    if slot in SLOTS:
        return str(slot)
    return f"{slot}/{t.key.partition('/')[2]}" if slot else t.key


def default_recipe(task: str) -> Recipe:
    """The default of CONTRACT §1: objective of the task, AdamW(1e-3, decay=0), Standardize; regression: Targets."""
    T = techniques
    if task == "classify":
        return Recipe(T.Standardize(), T.CrossEntropy(), T.AdamW())
    return Recipe(T.Standardize(), T.Targets(), T.SquaredError(), T.AdamW())


def resolve(
    recipe: Iterable[Technique] | None = None,
    task: str = "classify",
    *,
    default: Iterable[Technique] = (),
    without: Sequence[str] = (),
    with_: Sequence[Technique] = (),
) -> Recipe:
    """The recipe that is used, printed, saved and fingerprinted: the one given, or without one ``default`` (a reference
    network's own), its empty slots filled from the default recipe; then ``without``, then ``with_``."""
    full = Recipe(*(default if recipe is None else recipe)).filled(default_recipe(task))
    for name in without:
        full = full.minus(name)
    taken: dict[str, Technique] = {}
    for t in with_:
        place = place_of(t)
        if place in taken:
            raise EquipoiseError(f"--with {taken[place]!r} and --with {t!r} are for the same place: give one of them.")
        taken[place] = t
        full = full.plus(t)
    for t in full.active():
        if task not in t.tasks:
            raise EquipoiseError(
                f"{t!r} is for {' and '.join(t.tasks)}, but the task is {task}: leave it out or set --task."
            )
    return full


# --- text -----------------------------------------------------------------------------------------------------------
def parse(text: str) -> Technique:
    """``Dropout``, ``Dropout(0.3)``, ``Dropout(p=0.3, where="all")``: literals only, nothing is executed."""
    try:
        node = ast.parse(text.strip(), mode="eval").body
        call = node if isinstance(node, ast.Call) else ast.Call(node, [], [])
        name = call.func.id  # type: ignore[attr-defined]
        args = [ast.literal_eval(a) for a in call.args]
        kwargs = {str(k.arg): ast.literal_eval(k.value) for k in call.keywords}
    except (SyntaxError, ValueError, AttributeError, TypeError, MemoryError, RecursionError):
        raise EquipoiseError(
            f"cannot read {text!r}: write a technique such as Dropout or Dropout(p=0.3), literals only."
        ) from None
    return _construct(name, args, kwargs)


def _construct(name: str, args: Sequence[Any], kwargs: dict[str, Any]) -> Technique:
    cls = Empty if name == "Empty" else techniques.find(name)
    known = [f.name for f in cls.fields()]
    for k in kwargs:
        if k not in known:
            raise EquipoiseError(
                f"{name} has no {k!r}.{nearest(str(k), known)} It takes {', '.join(known) or 'nothing'}."
            )
    try:
        return cls(*args, **kwargs)
    except TypeError:
        raise EquipoiseError(
            f"{name} takes {', '.join(known) or 'nothing'}; got {len(args)} values and {sorted(kwargs)}."
        ) from None


def _entry(e: Any) -> Technique:
    if isinstance(e, str):
        return parse(e)
    if isinstance(e, dict) and len(e) == 1:
        name, kwargs = next(iter(e.items()))
        if isinstance(name, str) and isinstance(kwargs, dict):
            return _construct(name, [], {str(k): v for k, v in kwargs.items()})
        if isinstance(name, str) and kwargs is None:
            return _construct(name, [], {})
    raise EquipoiseError(f"cannot read the recipe entry {e!r}: write `- Dropout` or `- Dropout: {{p: 0.3}}`.")


def _plain(fields: dict[str, Any]) -> dict[str, Any]:
    return {k: list(v) if isinstance(v, tuple) else v for k, v in fields.items()}
