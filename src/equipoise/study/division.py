"""Which planned runs train together, and how: decided from what is planned alone.

A cohort's bits depend on the runs in it, its size, the gates left open and whether its step is compiled. Were any of
that to depend on what a process has trained or compiled before, a study resumed, or shared by two processes, would
differ from one that ran through. So all of it is drawn up before a phase is trained and stored with the cohort.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import torch

from ..cohort import open_gates
from ..combined import entry_of_members
from ..compiling import repays
from ..execution import part_of
from ..plan import STACK, Member, group, stacks
from ..step import Program
from .phases import Phase, Setting
from .store import Key

Planned = tuple[int, dict[str, Any], list[Key]]  # program, plan, runs


@dataclass(frozen=True)
class Shape:
    """How the cohorts of one program are trained. ``cohort``: the size of the longest, or None for runs of several
    members; ``part``: runs of one call of compiled code, 0 where each cohort decides alone; ``gates``: keys of
    techniques that are fully on in every run; ``cohorts``: how many like them there may ever be."""

    compiled: bool
    cohort: int | None
    part: int
    gates: tuple[str, ...] | None
    cohorts: int = 1


class Division:
    """Divides phases into cohorts; every process divides the same phases in the same order. Programs and compiled steps
    of the first phase serve the later ones where these fit."""

    def __init__(self, setting: Setting) -> None:
        self.setting = setting
        self._first: dict[int, tuple[Shape, int]] = {}  # by program, with the rows of its runs

    def divide(self, phase: Phase) -> list[Planned]:
        """The cohorts of every block."""
        return [planned for block in phase.blocks for planned in self._block(phase, block)]

    def _block(self, phase: Phase, keys: Sequence[Key]) -> list[Planned]:
        members = [phase.member(k) for k in keys]
        several = [_several(m) for m in members]
        out = []
        for wanted in (False, True):
            which = [i for i, s in enumerate(several) if s is wanted]
            for number, cohorts in self._programs([members[i] for i in which]):
                shape = self._shape(phase, number, [[members[which[j]] for j in c] for c in cohorts], wanted)
                out += [(number, asdict(shape), [keys[which[j]] for j in c]) for c in cohorts]
        return out

    def _programs(self, members: list[Member]) -> list[tuple[int, list[list[int]]]]:
        """(number of the program, its cohorts as indices of members); programs are made once and kept."""
        s, out = self.setting, []
        if not members:
            return []
        for techniques, indices in group(members, s.workshop.known(s.model)):
            s.workshop.program(s.model, techniques, members[indices[0]], s.data, s.options)
        # again, now that all programs are there: a run's program must not depend on which runs come with it
        for techniques, indices in group(members, s.workshop.known(s.model)):
            program = s.workshop.program(s.model, techniques, members[indices[0]], s.data, s.options)
            number = next(i for i, (_, _, made) in enumerate(s.workshop.made) if made is program)
            out.append((number, stacks(members, indices, STACK)))
        return out

    def _shape(self, phase: Phase, number: int, cohorts: list[list[Member]], several: bool) -> Shape:
        if several:
            return Shape(self.setting.options.compile == "always", None, 0, None)
        longest = max(map(len, cohorts))
        open_ = frozenset.intersection(*(open_gates(c) for c in cohorts))
        rows, alike = self._rows(cohorts[0][0]), len(cohorts) * phase.times
        first, fed = self._first.get(number, (None, 0))
        if first and first.part and -longest % first.part <= longest // 3 and open_.issuperset(first.gates or ()):
            return first if rows == fed else replace(first, cohorts=alike)
        threads = self.setting.options.threads or torch.get_num_threads()
        part = part_of(self.setting.workshop.made[number][2], longest, threads)
        steps = self.setting.schedule.epochs * len(self.setting.schedule.batches(rows))
        shape = Shape(self._compiled(number, longest, steps * alike), longest, part, tuple(sorted(open_)), alike)
        self._first.setdefault(number, (shape, rows))
        return shape

    def _rows(self, member: Member) -> int:
        return len(self.setting.data.rows["fit"] if member.rows is None else member.rows)

    def _compiled(self, number: int, longest: int, steps: int) -> bool:
        """Whether compiling is asked for, or repays over the ``steps`` of all such cohorts there may ever be."""
        asked = self.setting.options.compile
        if asked != "auto":
            return asked == "always"
        program: Program = self.setting.workshop.made[number][2]
        return repays(steps, sum(p.numel() for p in program.net.module.parameters()) * longest)


def _several(member: Member) -> bool:
    """Is it a run of several members, trained one by one or in cohorts of their own?"""
    entry = entry_of_members(member.recipe)
    return entry is not None and "runs" in entry.acts_in()
