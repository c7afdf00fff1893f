"""How runs are executed: options, which recipes share a program, and a cohort's executor. Decided before step 1."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from .errors import EquipoiseError
from .recipe import Recipe, place_of
from .technique import Technique, slot_of

HOST_STAGES = {"runs", "rate", "epoch"}  # techniques that act in no other stage never change a program
STACK = 48  # runs of one stacked cohort: what is done once for all of them is a small part of the work


@dataclass(frozen=True)
class Options:
    """How, not what, to train. Results agree to float tolerance across all of them except ``precision``.

    device: "auto" (CUDA where there is one), "cpu", "cuda", …; precision: "float32", "float64", "bfloat16" (autocast),
    "auto" (bfloat16 where a few passes of the network are faster; a study keeps one precision throughout);
    compile: "auto", "always", "never"; threads: of torch on CPU (None: torch's own choice); deterministic: torch's
    deterministic algorithms; progress: a progress bar (None: where standard error is a terminal).
    """

    device: str = "auto"
    precision: str = "float32"
    compile: str = "auto"
    threads: int | None = None
    deterministic: bool = True
    progress: bool | None = None

    def __post_init__(self) -> None:
        for name, allowed in (
            ("precision", ("auto", "float32", "float64", "bfloat16")),
            ("compile", ("auto", "always", "never")),
        ):
            if getattr(self, name) not in allowed:
                raise EquipoiseError(f"{name}={getattr(self, name)!r}: it is one of {', '.join(allowed)}.")
        if self.threads is not None and self.threads < 1:
            raise EquipoiseError(f"threads={self.threads}: a positive number, or None for torch's own choice.")

    def resolved_device(self) -> torch.device:
        if self.device == "auto":
            return torch.device("cuda" if torch.cuda.is_available() else "cpu")
        try:
            device = torch.device(self.device)
            torch.empty(0, device=device)
        except (RuntimeError, AssertionError) as e:
            raise EquipoiseError(
                f"device {self.device!r} is not there ({str(e).splitlines()[0]}); use --device cpu."
            ) from None
        return device


@dataclass(frozen=True)
class Plan:
    """How a run was executed; stored with it, followed on resume."""

    executor: str  # single, stacked
    compiled: bool
    precision: str
    threads: int
    cohort: int  # runs trained together
    device: str
    part: int = 1  # of them, runs that one call of compiled code takes
    torch: str = field(default_factory=lambda: str(torch.__version__))
    why: str = ""

    def to_dict(self) -> dict[str, Any]:
        return {k: getattr(self, k) for k in self.__dataclass_fields__}


@dataclass(eq=False)
class Member:
    """One run of a cohort before it is trained."""

    recipe: Recipe
    seed: int
    rows: Tensor | None = None  # its fit rows (None: the data's)
    factor: float = 1.0  # multiplies the learning rate (the study's ladder)
    techniques: dict[str, Technique] = field(default_factory=dict)  # the program's, with this run's knobs


@dataclass
class _Group:
    """Members that can share a program: their techniques by key, and which must come before which."""

    techniques: dict[str, Technique]
    before: dict[str, set[str]]  # key → keys that come before it in some member's recipe
    members: list[int]

    @classmethod
    def of(cls, own: Sequence[Technique], members: list[int]) -> _Group:
        chain = {b.key: {a.key} for a, b in itertools.pairwise(own)}
        return cls({t.key: t for t in own}, chain, members)

    def joined(self, own: Sequence[Technique]) -> _Group | None:
        """With one more recipe, or None where it differs in more than knobs and entries that can be switched off."""
        new = {t.key: t for t in own}
        if any(self.techniques[k].structure != new[k].structure for k in new.keys() & self.techniques.keys()):
            return None
        if any(
            t.off is None
            for k, t in [*self.techniques.items(), *new.items()]
            if not (k in new and k in self.techniques)
        ):
            return None
        both = {**self.techniques, **new}
        slots = [place_of(t) for t in both.values() if slot_of(t) is not None]
        if len(slots) != len(set(slots)):
            return None
        before = {k: set(self.before.get(k, ())) for k in both}
        for first, then in itertools.pairwise(new):
            before[then].add(first)
        out = _Group(both, before, self.members)
        return out if out.order() is not None else None

    def order(self) -> list[Technique] | None:
        """The techniques in an order that respects every member's recipe; None where there is no such order."""
        done: list[str] = []
        waiting = list(self.techniques)
        while waiting:
            ready = next((k for k in waiting if self.before.get(k, set()) <= set(done)), None)
            if ready is None:
                return None
            waiting.remove(ready)
            done.append(ready)
        return [self.techniques[k] for k in done]


def group(
    members: Sequence[Member], known: Sequence[Sequence[Technique]] = ()
) -> list[tuple[list[Technique], list[int]]]:
    """Programs: (techniques in order, indices of the members that share it). A technique that a member lacks is put in
    switched off where it has a neutral setting; otherwise the member needs a program of its own. Techniques that act on
    the host alone (schedules, early stopping) belong to the member and split nothing. ``known``: programs that exist
    already, which are joined where that adds nothing to them."""
    groups = [_Group.of(techniques, []) for techniques in known]
    sizes = [len(g.techniques) for g in groups]
    for i, m in enumerate(members):
        own = [t for t in m.recipe.active() if not on_host(t)]
        for g, old in enumerate(groups):
            joined = old.joined(own)
            if joined is not None and (g >= len(sizes) or len(joined.techniques) == sizes[g]):
                joined.members.append(i)
                groups[g] = joined
                break
        else:
            groups.append(_Group.of(own, [i]))
    programs = [(g.order() or [], g.members) for g in groups if g.members]
    for techniques, indices in programs:
        for i in indices:
            mine = {t.key: t for t in members[i].recipe.active()}
            shared = {t.key: mine.get(t.key) or t.switched_off() for t in techniques}
            members[i].techniques = shared | {k: t for k, t in mine.items() if k not in shared}
    return programs


def on_host(t: Technique) -> bool:
    return set(t.acts_in()) <= HOST_STAGES


def threads(options: Options) -> int:
    n = options.threads or torch.get_num_threads()
    torch.set_num_threads(n)
    return n


def stacks(members: Sequence[Member], indices: Sequence[int], size: int) -> list[list[int]]:
    """The members of one program in cohorts of at most ``size``; a cohort's runs have equally many fit rows."""
    by_rows: dict[int | None, list[int]] = {}
    for i in indices:
        rows = members[i].rows
        by_rows.setdefault(None if rows is None else len(rows), []).append(i)
    return [same[a : a + size] for same in by_rows.values() for a in range(0, len(same), size)]
