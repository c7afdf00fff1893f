"""Which runs of a study train together depends on what is planned alone: not on a process's past or on other blocks."""

from __future__ import annotations

from typing import Any

import pytest

from equipoise.feed import Schedule
from equipoise.plan import STACK, Options
from equipoise.study import prepare
from equipoise.study.division import Division, Planned
from equipoise.study.phases import Phase, Setting, design_phase, halves_phase, keys_of

from .small import NETWORK, data

TECHNIQUES = "BatchNorm,Dropout(0.3),Constant(0)|He,Ensemble(2)"


def setting(**options: Any) -> Setting:
    return Setting(NETWORK, data(), Schedule(2, 36), Options(threads=1, **{"compile": "never", **options}))


def phase(s: Setting, seeds: int, times: int | None = None) -> Phase:
    plan = prepare(NETWORK, None, s.data, TECHNIQUES, seeds=max(seeds, 2))
    blocks = [keys_of(plan.design.order, plan.rates, seed) for seed in range(seeds)]
    return design_phase(s, plan.arms, blocks, ["loss"], times or seeds)


def test_every_run_is_in_one_cohort_and_none_crosses_a_block() -> None:
    s = setting()
    wanted = phase(s, 3)
    cohorts = Division(s).divide(wanted)
    keys = [k for _, _, keys in cohorts for k in keys]
    assert sorted(keys) == sorted(wanted.keys) and len(set(keys)) == 3 * 16 * 3
    assert all(len({k.seed for k in own}) == 1 and len(own) <= STACK for _, _, own in cohorts)
    assert len({number for number, _, _ in cohorts}) > 1  # several programs


def test_a_block_is_divided_alike_whichever_others_are_there() -> None:
    """So that blocks added later give the bits of blocks that were there from the start."""

    def last(cohorts: list[Planned]) -> list[Planned]:
        return [c for c in cohorts if c[2][0].seed == 2]

    whole, grown = setting(), setting()
    division = Division(grown)
    division.divide(phase(grown, 2, times=3))
    assert last(division.divide(phase(grown, 3))) == last(Division(whole).divide(phase(whole, 3)))


def test_a_later_phase_is_divided_alike_after_any_past() -> None:
    """A process that joins late has made no other programs, in no other order, than one that was there all along."""

    def halves(s: Setting, division: Division) -> list[Planned]:
        plan = prepare(NETWORK, None, s.data, TECHNIQUES, seeds=2)
        return division.divide(halves_phase(s, plan.arms, 2, 7, [1.0] * len(plan.arms))[0])

    early, late = setting(), setting()
    first, again = Division(early), Division(late)
    for seeds in (2, 2, 2):
        first.divide(phase(early, seeds))
    again.divide(phase(late, 2))
    assert halves(early, first) == halves(late, again)


@pytest.mark.parametrize("compile", ["always", "never"])
def test_what_is_asked_for_is_compiled(compile: str) -> None:
    s = setting(compile=compile)
    assert {how["compiled"] for _, how, _ in Division(s).divide(phase(s, 2))} == {compile == "always"}


def test_compiling_is_decided_for_all_blocks_there_may_ever_be() -> None:
    """Two short blocks do not repay it, a million declared ones do; then the first two are compiled too."""
    for times, compiled in ((2, False), (1_000_000, True)):
        s = setting(compile="auto")
        cohorts = Division(s).divide(phase(s, 2, times))
        own = [how["compiled"] for _, how, keys in cohorts if how["cohort"] is not None]
        assert set(own) == {compiled}
