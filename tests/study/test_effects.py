"""Effects, verdicts and rows: vectors B-1, B-2, B-5, the order of verdicts, identical runs, and what JSON holds."""

from __future__ import annotations

import itertools
import json
import math

import numpy as np
import pytest

from equipoise import stats
from equipoise.errors import EquipoiseError
from equipoise.study import effects as module
from equipoise.study.design import Design, Factor, make_design
from equipoise.study.effects import EffectRow, baseline_mean, effects, failures, grouped, smallest_effect
from equipoise.study.planning import Parts


def yates(k: int, interactions: tuple[tuple[int, int], ...] = ()) -> Design:
    """The full factorial in Yates order (the first factor alternates fastest)."""
    matrix = np.array([combination[::-1] for combination in itertools.product((0, 1), repeat=k)])
    factors = tuple(Factor(chr(65 + i), ("none", "on")) for i in range(k))
    order = tuple(range(2**k))
    return Design("Yates", "full", factors, matrix, interactions, ("",) * k, ((0, 1),) * k, order, 0)


def noisy(
    design: Design, planted: dict[str, float], *, scale: float = 0.01, shape: tuple[int, int] = (3, 50)
) -> np.ndarray:
    """Scores (N, S, n) around 1 with planted effects, seed and example errors of about ``scale``."""
    rng = np.random.default_rng(0)
    names = [*design.rows, *("×".join(p) for p in design.interaction_rows)]
    beta = np.array([planted.get(name, 0.0) for name in names])
    mean = 1.0 + design.terms(design.matrix)[:, 1:] @ beta
    seeds, n = shape
    return (
        mean[:, None, None]
        + rng.normal(0, scale, (design.configurations, seeds, 1))
        + rng.normal(0, 1, (1, 1, n))
        + rng.normal(0, scale * math.sqrt(n) / 2, (design.configurations, seeds, n))
    )


PILOT_PLANT = np.array([(59, 61), (74, 70), (50, 58), (69, 67), (50, 54), (81, 85), (46, 44), (79, 81)], dtype=float)
FILTRATION = np.array([45, 71, 48, 65, 68, 60, 80, 65, 43, 100, 45, 104, 75, 86, 70, 96], dtype=float)


class TestVectors:
    def test_b1_pilot_plant(self) -> None:
        design = yates(3, ((0, 1), (0, 2), (1, 2)))
        y = PILOT_PLANT.mean(1)
        np.testing.assert_allclose(design.weights @ y, [23, -5, 1.5, 1.5, 10, 0])
        assert np.prod(design.coded, axis=1) @ y / 4 == pytest.approx(0.5)
        np.testing.assert_allclose(design.weights[:3] @ PILOT_PLANT, [[24.5, 21.5], [-5, -5], [1, 2]])

    def test_b1_error(self) -> None:
        """Box and Hunter's s² = 8 keeps the replicate means in; the seed block is removed here: 8·8 − 9 on 7 df."""
        got = stats.interval(np.repeat(PILOT_PLANT[..., None], 2, axis=2), yates(3).weights)
        ms = float(got.se_seed[1] ** 2) * 16 / 4  # of C, whose replicate contrasts are equal: the pooled part
        blocks = 8 * PILOT_PLANT.mean(0).var(ddof=1)
        s2 = (ms * 7 + blocks) / 8
        assert s2 == pytest.approx(8.0)
        assert math.sqrt(4 * s2 / 16) == pytest.approx(1.41421, abs=5e-6)
        assert got.se_seed[0] ** 2 == pytest.approx(np.var([24.5, 21.5], ddof=1) / 2)  # T's own is the larger
        assert got.df == pytest.approx([2.0, 7.0, 7.0])

    def test_b2_filtration(self) -> None:
        pairs = tuple(itertools.combinations(range(4), 2))
        design = yates(4, pairs)
        want = [21.625, 3.125, 9.875, 14.625, 0.125, -18.125, 16.625, 2.375, -0.375, -1.125]
        np.testing.assert_allclose(design.weights @ FILTRATION, want)
        higher = [c for r in (3, 4) for c in itertools.combinations(range(4), r)]
        rest = [float(design.coded[:, c].prod(1) @ FILTRATION / 8) for c in higher]
        assert rest == pytest.approx([1.875, 4.125, -1.625, -2.625, 1.375])
        assert stats.lenth([*want, *rest]).pse == pytest.approx(2.625)

    def test_b5_three_ablations_disagree(self) -> None:
        design = yates(2, ((0, 1),))
        bn, drop = design.matrix.T
        y = 1.0 * bn + 1.0 * drop - 1.5 * bn * drop
        fitted = {levels: float((design.at(np.array(levels)) @ y)[0]) for levels in itertools.product((0, 1), repeat=2)}
        assert [fitted[1, 0] - fitted[0, 0], fitted[0, 1] - fitted[0, 0]] == pytest.approx([1, 1])  # one at a time
        assert [fitted[1, 1] - fitted[0, 1], fitted[1, 1] - fitted[1, 0]] == pytest.approx(
            [-0.5, -0.5]
        )  # leave one out
        np.testing.assert_allclose(design.weights @ y, [0.25, 0.25, -0.75])


class TestVerdicts:
    DESIGN = make_design([Factor(x, ("none", x)) for x in ("A", "B", "C", "D")], seed=1)

    @pytest.mark.parametrize(("metric", "verdict"), [("loss", "costs"), ("accuracy", "pays")])
    def test_direction(self, metric: str, verdict: str) -> None:
        got = effects(self.DESIGN, {metric: noisy(self.DESIGN, {"B": 0.2})}, primary=metric, smallest=0.02)
        assert got.row("B").verdict == verdict
        assert got.row("B").effect == pytest.approx(0.2, abs=0.02)
        assert {got.row(x).verdict for x in "ACD"} == {"too small to matter"}
        assert got.row("B").better == got.better == ("lower" if metric == "loss" else "higher")

    def test_own_metric_says_its_direction(self) -> None:
        y = noisy(self.DESIGN, {"B": -0.2})
        got = effects(self.DESIGN, {"cost": y}, primary="cost", smallest=0.02, better={"cost": "lower"})
        assert got.row("B").verdict == "pays"

    def test_significant_and_small(self) -> None:
        """p < .05 alone does not pay: too small where the 90 % interval is inside ±δ, undecided where it is not."""
        y = noisy(self.DESIGN, {"B": 0.05})
        inside = effects(self.DESIGN, {"loss": y}, primary="loss", smallest=0.2).row("B")
        assert inside.p_holm < 0.05 and inside.verdict == "too small to matter"
        delta = abs(inside.effect) + 0.1 * inside.se
        across = effects(self.DESIGN, {"loss": y}, primary="loss", smallest=delta).row("B")
        assert across.p_holm < 0.05 and across.verdict == "undecided"

    def test_noise_is_undecided(self) -> None:
        y = noisy(self.DESIGN, {}, scale=0.3)
        got = effects(self.DESIGN, {"loss": y}, primary="loss", smallest=0.01)
        assert {r.verdict for r in got.rows} == {"undecided"}
        assert all("would decide" in r.advice for r in got.rows)

    def test_family_holds_interactions(self) -> None:
        plain = self.DESIGN
        declared = make_design(plain.factors, interactions=[(0, 1), (2, 3)], seed=1)
        y = noisy(declared, {"B": 0.02, "A×B": 0.01})
        got = effects(declared, {"loss": y}, primary="loss")
        p = [r.p for r in got.rows] + [r.p for r in got.interactions]
        assert len(p) == 6
        np.testing.assert_allclose([r.p_holm for r in got.rows] + [r.p_holm for r in got.interactions], stats.adjust(p))
        assert got.rows[0].low_sim == pytest.approx(float(stats.interval(y, declared.weights, family=6).low_sim[0]))
        assert got.interactions[0].techniques == ("A", "B")
        assert got.interactions[0].effect == pytest.approx(0.01, abs=5 * got.interval.se[4])

    def test_looks_widen_everything(self) -> None:
        y = {"loss": noisy(self.DESIGN, {"B": 0.02})}
        plain = effects(self.DESIGN, y, primary="loss")
        early = effects(self.DESIGN, y, primary="loss", looks=stats.Looks((3, 6)))
        for a, b in zip(plain.rows, early.rows, strict=True):
            assert b.high - b.low > a.high - a.low and b.high_sim - b.low_sim > a.high_sim - a.low_sim and b.p > a.p
        delta = abs(plain.row("A").effect) + 1.8 * plain.row("A").se  # the 90 % interval reaches 1.73 SE, widened more
        at = {"primary": "loss", "smallest": delta}
        assert effects(self.DESIGN, y, **at).row("A").verdict == "too small to matter"
        assert effects(self.DESIGN, y, **at, looks=stats.Looks((3, 6))).row("A").verdict == "undecided"

    def test_default_smallest(self) -> None:
        assert smallest_effect("loss", 0.5) == smallest_effect("rmse", 0.5) == pytest.approx(0.01)
        assert smallest_effect("mae", 3.0) == smallest_effect("brier", 3.0) == pytest.approx(0.06)
        assert smallest_effect("accuracy", 0.9) == smallest_effect("auc", 0.9) == smallest_effect("r2", 0.1) == 0.005
        with pytest.raises(EquipoiseError, match="--smallest"):
            smallest_effect("cost", 1.0)
        got = effects(self.DESIGN, {"loss": noisy(self.DESIGN, {})}, primary="loss")
        assert got.smallest == pytest.approx(0.02 * got.baseline)

    def test_default_smallest_rests_on_a_measured_baseline(self) -> None:
        """Harms that multiply fit a baseline below every run, here below zero: δ is 2 % of what was run all off."""
        for seed in range(20):
            design = make_design([Factor(x, ("none", x)) for x in "ABCDEFG"], seed=seed)
            assert (design.matrix == 0).all(1).sum() == 1
        y = 0.2 * 2.0 ** design.matrix.sum(1)[:, None, None] + np.random.default_rng(0).normal(0, 1e-3, (16, 3, 5))
        fitted = float(design.at(np.zeros(7, dtype=int))[0] @ y.mean((1, 2)))
        found = effects(design, {"loss": y}, primary="loss")
        assert fitted < 0 < found.smallest and abs(found.smallest - 0.02 * 0.2) < 1e-4

    def test_advice_is_kept_by_the_data_it_asks_for(self) -> None:
        """An undecided effect, measured with exactly the same parts on as many more seeds as advised, is decided."""
        row = effects(self.DESIGN, {"loss": noisy(self.DESIGN, {"B": 0.02})}, primary="loss", smallest=0.02).row("A")
        parts = Parts(0.01**2, 0.002**2, 0.001**2, 16, 3, 200)
        seeds, examples = module.needed(0.001, parts, 0.012, 4)
        assert seeds is not None and seeds > 1 and examples is None  # seed error dominates
        assert row.advice == ""
        asked = EffectRow(**{**row.__dict__, "verdict": "undecided", "more_seeds": 1, "more_examples": None})
        assert asked.advice == "about 1 more seed would decide"
        asked = EffectRow(**{**row.__dict__, "verdict": "undecided", "more_seeds": None, "more_examples": 80})
        assert asked.advice == "more seeds will not help; about 80 more examples would decide"


class TestIdenticalRuns:
    FACTORS = tuple(Factor(x, ("none", x)) for x in ("placebo", "B", "C"))

    def scores(self, design: Design) -> np.ndarray:
        rng = np.random.default_rng(3)
        runs = {key: rng.normal(size=(3, 20)) for key in itertools.product((0, 1), repeat=len(design.factors) - 1)}
        return np.stack([runs[tuple(row[1:])] for row in design.matrix.tolist()])

    def test_a_placebo_is_named_without_p(self) -> None:
        design = make_design(self.FACTORS, seed=2)
        got = effects(design, {"loss": self.scores(design)}, primary="loss", smallest=1e-9)
        row = got.row("placebo")
        assert row.verdict == "no effect: identical runs"
        assert (row.effect, row.low, row.high, row.se, row.low_sim, row.high_sim) == (0.0,) * 6
        assert math.isnan(row.p) and math.isnan(row.p_holm)
        assert row.as_json()["p"] is None and row.as_json()["p_holm"] is None
        others = [got.row("B"), got.row("C")]
        assert all("identical" not in r.verdict for r in others)
        p = [r.p for r in others]
        np.testing.assert_allclose(
            [r.p_holm for r in others], stats.adjust([0.999999, *p])[1:]
        )  # it counts in the family

    def test_runs_scored_as_a_fallback_are_not_called_identical(self) -> None:
        """Where nothing learns, every run gets the fallback's scores: what the technique does to it cannot be seen."""
        design = make_design(self.FACTORS, seed=2)
        y = np.broadcast_to(np.random.default_rng(3).normal(2.0, 1.0, 20), (design.configurations, 3, 20))
        got = effects(design, {"loss": y}, primary="loss", fallback=np.ones(y.shape[:2], dtype=bool))
        for row in got.rows:
            assert (row.verdict, row.effect, row.se) == ("undecided", 0.0, 0.0) and math.isnan(row.p)
            assert "no run did better than the fallback" in row.advice and "hidden" not in row.as_json()
        some = np.arange(8)[:, None] < np.array([4, 4, 0])  # a few that failed, beside twins that are equal bit by bit
        got = effects(design, {"loss": y}, primary="loss", fallback=some)
        assert {r.verdict for r in got.rows} == {"no effect: identical runs"}

    def test_one_bit_is_a_difference(self) -> None:
        design = make_design(self.FACTORS, seed=2)
        y = self.scores(design)
        y[3, 1, 7] = np.nextafter(y[3, 1, 7], 9.0)
        got = effects(design, {"loss": y}, primary="loss", smallest=1e-9)
        assert "identical" not in got.row("placebo").verdict and got.row("placebo").p <= 1.0

    def test_equal_accuracies_of_different_runs_are_not_identical(self) -> None:
        design = make_design(self.FACTORS, seed=2)
        right = (self.scores(design) > 0).astype(float)
        loss = self.scores(design) + np.random.default_rng(4).normal(0, 0.1, right.shape)
        got = effects(design, {"accuracy": right, "loss": loss}, primary="accuracy")
        assert "identical" not in got.row("placebo").verdict
        assert got.row("placebo").effect == pytest.approx(0.0, abs=1e-12)

    def test_levels_of_unequal_size(self) -> None:
        """Three levels, "off" in half of the runs: equal runs are found although their numbers differ."""
        design = make_design([Factor("N", ("none", "x", "y")), *(Factor(c, ("none", c)) for c in "ABCDEF")], seed=0)
        y = np.broadcast_to(np.random.default_rng(0).normal(size=(1, 3, 9)), (32, 3, 9))
        assert {r.verdict for r in effects(design, {"loss": y}, primary="loss", smallest=1.0).rows} == {
            "no effect: identical runs"
        }


class TestRows:
    def test_every_metric_and_level_has_a_row(self) -> None:
        design = make_design([Factor("norm", ("none", "batch", "layer")), Factor("B", ("none", "B"))], seed=1)
        rng = np.random.default_rng(0)
        scores = {m: rng.normal(1.0, 0.1, (6, 3, 30)) for m in ("accuracy", "loss", "brier")}
        got = effects(design, scores, primary="loss")
        keys = [(r.metric, r.technique) for r in got.rows]
        rows = ["norm[batch]", "norm[layer]", "B"]
        assert keys == [(m, t) for m in ("loss", "accuracy", "brier") for t in rows]
        for row in got.rows:
            assert row.verdict == got.row(row.technique).verdict
            plain = stats.interval(scores[row.metric], design.weights)
            k = rows.index(row.technique)
            assert (row.low, row.high) == pytest.approx((plain.low[k], plain.high[k]))
            missing = [math.isnan(v) for v in (row.p, row.p_holm, row.low_sim, row.high_sim)]
            assert missing == [row.metric != "loss"] * 4

    def test_json_has_the_contract_keys(self) -> None:
        design = make_design([Factor(x, ("none", x)) for x in "ABC"], interactions=[(0, 1)], seed=1)
        got = effects(design, {"loss": noisy(design, {}), "accuracy": noisy(design, {})}, primary="loss")
        keys = "technique metric better effect low high low_sim high_sim se_seed se_example df p p_holm verdict alias"
        assert list(got.rows[0].as_json()) == keys.split()
        assert set(got.interactions[0].as_json()) == {"techniques", "effect", "low", "high", "p", "alias"}
        text = json.dumps([r.as_json() for r in (*got.rows, *got.interactions)], allow_nan=False)
        assert json.loads(text)[3]["p"] is None

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            (lambda y: y[:5], "shape"),
            (lambda y: np.where(y > 2.5, np.nan, y), "finite"),
            (lambda y: y[:, :1], "at least 2 seeds"),
        ],
    )
    def test_refuses(self, change, message: str) -> None:
        design = TestVerdicts.DESIGN
        with pytest.raises(EquipoiseError, match=message):
            effects(design, {"loss": change(noisy(design, {}))}, primary="loss")

    def test_refuses_questions_without_an_answer(self) -> None:
        design = TestVerdicts.DESIGN
        y = noisy(design, {})
        with pytest.raises(EquipoiseError, match="primary"):
            effects(design, {"loss": y}, primary="brier")
        with pytest.raises(EquipoiseError, match="--smallest"):
            effects(design, {"loss": y}, primary="loss", smallest=0.0)


class TestBeside:
    def test_baseline_is_measured(self) -> None:
        design = make_design([Factor(x, ("none", x)) for x in "ABC"], seed=1)
        y = np.random.default_rng(0).normal(size=(8, 2, 5))
        (off,) = np.flatnonzero((design.matrix == 0).all(1))
        assert baseline_mean(design, y) == pytest.approx(y[off].mean())

    def test_failures_per_technique(self) -> None:
        design = make_design([Factor("norm", ("none", "batch", "layer")), Factor("B", ("none", "B"))], seed=1)
        failed = np.zeros((6, 3), bool)
        failed[(design.matrix[:, 0] == 1)] = True  # both runs of batch norm, on all seeds
        failed[(design.matrix[:, 0] == 2) & (design.matrix[:, 1] == 1), 0] = True
        assert failures(design, failed) == {"norm[batch]": 6, "norm[layer]": 1, "B": 4}

    def test_groups_take_the_place_of_examples(self) -> None:
        """Rows of a group move together: counted as rows the interval is too narrow, counted as groups it covers."""
        design, rng = make_design([Factor(x, ("none", x)) for x in "ABC"], seed=1), np.random.default_rng(8)
        groups, covered = np.repeat(np.arange(20), 15), {"rows": 0, "groups": 0}
        for _ in range(400):
            shared = rng.normal(0, 1.0, (20,))[groups] * design.coded[:, :1] / 2  # a response of the group to A
            y = shared[:, None] + rng.normal(0, 0.02, (8, 3, 1)) + rng.normal(0, 0.3, (8, 3, 300))
            for name, scores in (("rows", y), ("groups", grouped(y, groups))):
                row = stats.interval(scores, design.weights)
                covered[name] += bool(row.low[0] <= 0.0 <= row.high[0])
        assert covered["rows"] / 400 < 0.7
        assert covered["groups"] / 400 > 0.95 - 5 * math.sqrt(0.95 * 0.05 / 400)
        got = effects(design, {"loss": 2.0 + grouped(y, groups)}, primary="loss", smallest=0.01, unit="groups")
        assert "groups" in got.row("A").advice and "examples" not in got.row("A").advice
        assert "unit" not in got.row("A").as_json()

    def test_groups_have_cluster_robust_errors(self) -> None:
        import statsmodels.api as sm

        rng = np.random.default_rng(5)
        groups = np.sort(rng.integers(0, 12, 60))
        y = rng.normal(size=60) + rng.normal(size=12)[groups]
        z = grouped(y, groups)
        assert z.mean() == pytest.approx(y.mean())
        robust = sm.OLS(y, np.ones(60)).fit(cov_type="cluster", cov_kwds={"groups": groups})
        assert math.sqrt(z.var(ddof=1) / len(z)) == pytest.approx(float(robust.bse[0]))
        np.testing.assert_allclose(grouped(np.stack([y, 2 * y]), groups)[1], 2 * z)
        np.testing.assert_allclose(np.sort(grouped(y, np.arange(60))), np.sort(y))
