"""A study that fits a time: what it costs, what is given up and in which order, and when nothing fits."""

from __future__ import annotations

from dataclasses import replace

import pytest

from equipoise.data import Data
from equipoise.errors import EquipoiseError
from equipoise.feed import Schedule
from equipoise.study.budget import seconds_of, within
from equipoise.study.costs import CONFIRMING, Size, duration, fullest, priced, sizes
from equipoise.study.planned import StudyPlan, prepare
from equipoise.study.planning import precision
from equipoise.study.probing import Footprint, Step, measured

HOUR = 3600.0
SIZE = Size(steps=100, half_steps=50, epochs=10, scores=300, data=1_000_000)


def step(run_seconds: float) -> Step:
    """A step of a run that takes so long in all."""
    return Step(run_seconds / SIZE.steps, 0.0, 1, 1, 1, Footprint(params=4000, buffers=0, own=8000, saved=50_000))


@pytest.fixture(scope="module")
def plan() -> StudyPlan:
    """Seven factors at the ladder, three seed blocks."""
    return prepare("mlp(hidden=(8,))", None, Data.load("digits"), None)


@pytest.fixture(scope="module")
def fixed() -> StudyPlan:
    """The same at one rate on two seed blocks."""
    return prepare("mlp(hidden=(8,))", None, Data.load("digits"), None, seeds=2, lr="fixed")


class TestCosts:
    def test_the_line_of_an_expensive_model(self, fixed: StudyPlan) -> None:
        assert priced(fixed, SIZE, step(HOUR), 0).product() == (
            "plan: 16 × 2 × 1 h = 32 h; an 8-run screening 16 h, resolution III: main effects aliased with interactions"
        )

    def test_of_a_ladder_what_one_rate_would_take(self, plan: StudyPlan) -> None:
        assert "16 × 3 × 3 × 1 h = 144 h; at one fixed rate 48 h" in priced(plan, SIZE, step(HOUR), 2).product()

    def test_a_cheap_study_is_offered_no_screening(self, plan: StudyPlan) -> None:
        assert priced(plan, SIZE, step(1.0), 2).product() == "plan: 16 × 3 × 3 × 1 s = 2.4 min of the design's runs"

    def test_four_factors_lose_less(self) -> None:
        asked = prepare("mlp", None, Data.load("digits"), "BatchNorm,Dropout,L2,MixUp", seeds=2, lr="fixed")
        assert (
            "an 8-run screening 16 h, resolution IV: interactions aliased"
            in priced(asked, SIZE, step(HOUR), 0).product()
        )
        three = prepare("mlp", None, Data.load("digits"), "BatchNorm,Dropout,L2", seeds=2, lr="fixed")
        assert priced(three, SIZE, step(HOUR), 0).product() == "plan: 8 × 2 × 1 h = 16 h"

    def test_every_run_is_counted(self, plan: StudyPlan) -> None:
        got = priced(plan, SIZE, replace(step(10.0), scoring=0.5), 2)
        assert got.runs == 16 * 3 * 3 + 16 * 2 * 2 + CONFIRMING == 228
        assert got.run_steps == (144 + 20) * 100 + 64 * 50
        assert got.seconds == pytest.approx(got.run_steps * 0.1 + 228 * 10 * 0.5)
        assert got.run_seconds == pytest.approx(10.0 + 5.0)

    def test_memory_is_data_stack_and_scores(self, plan: StudyPlan) -> None:
        at = replace(step(1.0), cohort=24, stack=24)
        got = priced(plan, SIZE, at, 2).megabytes * 1e6
        assert got == pytest.approx(1_000_000 + at.footprint.training(24, 24) + 144 * 8 * 300)

    def test_precision_is_that_of_the_family(self, plan: StudyPlan) -> None:
        got, want = priced(plan, SIZE, step(1.0), 2), precision(plan.design.weights[0], 3, 1.0, family=12)
        assert (got.detectable, got.half_width) == (want.mde, want.half_width)
        assert len(plan.design.weights) == 12  # seven effects and five declared interactions

    def test_measured_on_real_data(self, plan: StudyPlan) -> None:
        from equipoise.plan import STACK, Options

        data = Data.load("digits")
        options, schedule = Options(threads=1, compile="never"), Schedule(2, 64)
        size, taken = sizes(data, schedule), measured("mlp(hidden=(8,))", fullest(plan), data, schedule, options, 48)
        got = priced(plan, size, taken, 2)
        assert (size.steps, size.half_steps, size.scores) == (2 * 17, 2 * 9, 3 * 270)
        assert got.run_steps == 164 * 34 + 64 * 18 and got.seconds > 0 and got.stack == min(STACK, 48)
        assert got.megabytes > sum(t.numel() * t.element_size() for t in data.inputs) / 1e6
        assert len(fullest(plan)) == max(map(len, plan.arms))

    @pytest.mark.parametrize(
        ("seconds", "text"), [(0.5, "0.5 s"), (42.4, "42 s"), (90, "1.5 min"), (3600, "1 h"), (4e6, "1,111 h")]
    )
    def test_durations(self, seconds: float, text: str) -> None:
        assert duration(seconds) == text


class TestBudget:
    @pytest.mark.parametrize(
        ("text", "seconds"),
        [("2h", 7200), ("30m", 1800), ("30 min", 1800), ("1h30m", 5400), ("90s", 90), ("1.5h", 5400), ("1d", 86400)],
    )
    def test_times(self, text: str, seconds: float) -> None:
        assert seconds_of(text) == seconds

    @pytest.mark.parametrize("text", ["", "2", "h", "2 parsecs", "-2h", "2h!", "0s", "1h 2", "nan h"])
    def test_what_is_no_time(self, text: str) -> None:
        with pytest.raises(EquipoiseError, match="--budget"):
            seconds_of(text)

    def test_what_fits_is_left_as_it_is(self, plan: StudyPlan) -> None:
        got = within(200 * HOUR, plan, SIZE, step(HOUR), 2, 3)
        assert (got.plan.design, got.plan.seeds, got.plan.rates, got.splits) == (plan.design, [0, 1, 2], plan.rates, 2)
        assert got.against == () and got.lines(200 * HOUR)[0].endswith(": gives up nothing")

    def test_time_left_over_goes_to_seed_blocks(self, plan: StudyPlan) -> None:
        got = within(1e9, plan, SIZE, step(HOUR), 2, 5)
        assert got.plan.seeds == [0, 1, 2, 3, 4]
        assert got.against[0] == "has room for 5 seed blocks instead of 3"
        assert got.costs.detectable < priced(plan, SIZE, step(HOUR), 2).detectable

    def test_the_order_in_which_things_are_given_up(self, plan: StudyPlan) -> None:
        """Seeds beyond two, then half-splits, then the ladder, then configurations; never more than is needed."""
        seen = []
        for hours in range(220, 34, -2):
            got = within(hours * HOUR, plan, SIZE, step(HOUR), 2, 3)
            assert got.costs.seconds <= hours * HOUR
            state = (got.plan.design.configurations, len(got.plan.rates), got.splits, len(got.plan.seeds))
            if state not in seen:
                seen.append(state)
        assert seen == [
            (16, 3, 2, 3), (16, 3, 2, 2), (16, 3, 0, 2), (16, 1, 2, 3), (16, 1, 2, 2), (16, 1, 0, 3), (16, 1, 0, 2),
            (12, 1, 0, 2), (8, 1, 0, 2),
        ]  # fmt: skip

    def test_it_says_what_it_gives_up(self, plan: StudyPlan) -> None:
        got = within(37 * HOUR, plan, SIZE, step(HOUR), 2, 3)
        text = got.lines(37 * HOUR)[0]
        assert text.startswith("budget: 36 h of 37 h: ")
        assert "gives up 8 of 16 configurations, so that resolution is III instead of IV" in text
        assert "5 declared interactions are not estimated" in text
        assert "every arm is judged at its base rate" in text and "gives up bias² and variance" in text
        assert "gives up 1 of 3 seed blocks" in text and "is found with probability .80" in text
        assert got.plan.design.resolution == "III" and len(got.plan.arms) == 8

    def test_nothing_fits(self, plan: StudyPlan) -> None:
        with pytest.raises(EquipoiseError, match=r"8 configurations × 2 seeds × 1 rate .* takes about 36 h here") as e:
            within(20 * HOUR, plan, SIZE, step(HOUR), 2, 3)
        assert "\n" not in str(e.value)
        with pytest.raises(EquipoiseError, match="takes about 36 h"):
            within(36 * HOUR - 1, plan, SIZE, step(HOUR), 2, 3)
        assert within(36 * HOUR, plan, SIZE, step(HOUR), 2, 3).costs.seconds == pytest.approx(36 * HOUR)

    def test_the_arms_are_those_of_the_smaller_design(self, plan: StudyPlan) -> None:
        """Asked for by its number of configurations, the same study comes out."""
        got = within(37 * HOUR, plan, SIZE, step(HOUR), 2, 3).plan
        again = prepare("mlp(hidden=(8,))", None, Data.load("digits"), None, seeds=2, lr="fixed", configurations=8)
        assert again.arms == got.arms and (again.design.matrix == got.design.matrix).all()
        assert again.seeds == got.seeds and again.rates == got.rates
        assert any("cannot tell them apart: BatchNorm×Dropout" in n for n in again.left_out)
