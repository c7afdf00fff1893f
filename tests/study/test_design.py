"""Designs against published vectors (B-3, B-4, B-6 … B-9, B-13) and brute force over their columns."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from equipoise.errors import EquipoiseError
from equipoise.study.columns import GENERATORS, base_design
from equipoise.study.design import Design, Factor, d_efficiency, make_design

NORM = Factor("norm", ("none", "BatchNorm", "LayerNorm", "GroupNorm"))
THREE = Factor("rate", ("none", "slow", "fast"))


def on_off(k: int) -> list[Factor]:
    return [Factor(chr(65 + i), ("none", "on")) for i in range(k)]


def by_hand(signs: np.ndarray, interactions: tuple[tuple[int, int], ...] = ()) -> Design:
    """A two-level design from its ±1 columns, factors A, B, C, …"""
    n, k = signs.shape
    matrix = (signs > 0).astype(int)
    factors = tuple(on_off(k))
    return Design("by hand", "?", factors, matrix, interactions, ("",) * k, ((0, 1),) * k, tuple(range(n)), 0)


def signs_of(design: Design) -> np.ndarray:
    assert all(len(f.levels) == 2 for f in design.factors)
    return 2 * design.matrix - 1


def two_factor_products(signs: np.ndarray) -> dict[tuple[int, int], np.ndarray]:
    return {(j, k): signs[:, j] * signs[:, k] for j, k in itertools.combinations(range(signs.shape[1]), 2)}


PLACKETT_BURMAN = np.array([np.roll([1, 1, -1, 1, 1, 1, -1, -1, -1, 1, -1], -i) for i in range(11)] + [[-1] * 11])
CAST_FATIGUE = np.array([6.058, 4.733, 4.625, 5.899, 7.000, 5.752, 5.682, 6.607, 5.818, 5.917, 5.863, 4.809])


class TestVectors:
    def test_b3_half_fraction(self) -> None:
        """Montgomery's filtration, I = ABCD: (1) ad bd ab cd ac bc abcd."""
        runs = {"": 45, "ad": 100, "bd": 45, "ab": 65, "cd": 75, "ac": 60, "bc": 80, "abcd": 96}
        signs = np.array([[1 if letter in run else -1 for letter in "abcd"] for run in runs])
        design = by_hand(signs, ((0, 1), (0, 2), (0, 3)))
        effects = design.weights @ np.array(list(runs.values()), dtype=float)
        np.testing.assert_allclose(effects, [19, 1.5, 14, 16.5, -1, -18.5, 19])
        assert [design.aliases[name] for name in ("A×B", "A×C", "A×D")] == ["+C×D", "+B×D", "+B×C"]
        assert design.aliases["A"] == "clear of two-factor interactions"

    def test_b4_plackett_burman_trap(self) -> None:
        np.testing.assert_array_equal(PLACKETT_BURMAN.T @ PLACKETT_BURMAN, 12 * np.eye(11))
        design = by_hand(PLACKETT_BURMAN[:, :7])
        half = design.weights @ CAST_FATIGUE
        np.testing.assert_allclose(half, [0.326, 0.294, -0.246, -0.516, 0.150, 0.915, 0.183], atol=5e-4)

        def r2(columns: list[np.ndarray]) -> float:
            x = np.column_stack([np.ones(12), *columns])
            fit = x @ np.linalg.lstsq(x, CAST_FATIGUE, rcond=None)[0]
            return float(1 - np.var(CAST_FATIGUE - fit) / np.var(CAST_FATIGUE))

        d, f, g = (PLACKETT_BURMAN[:, k] for k in (3, 5, 6))
        assert r2([f]) == pytest.approx(0.4451, abs=5e-5)
        assert r2([f, d]) == pytest.approx(0.5867, abs=5e-5)
        assert r2([f, f * g]) == pytest.approx(0.8925, abs=5e-5)
        declared = by_hand(PLACKETT_BURMAN[:, [5, 6]], ((0, 1),))
        effect = declared.weights @ CAST_FATIGUE
        np.testing.assert_allclose(effect[[0, 2]] / 2, [0.4576, -0.4588], atol=5e-5)

    def test_b4_partial_aliases_and_fold_over(self) -> None:
        quick = make_design(on_off(11), configurations=12, seed=1)
        share = {
            abs(round(float(v), 9))
            for p in two_factor_products(signs_of(quick)).values()
            for v in signs_of(quick).T @ p / 12
        }
        assert share == {0.0, round(1 / 3, 9)}
        assert quick.resolution == "III"
        assert quick.aliases["A"] == "up to ±0.33 of each of 45 two-factor interactions"
        folded = make_design(on_off(11), seed=1)
        assert folded.configurations == 24
        assert max(np.abs(signs_of(folded).T @ p).max() for p in two_factor_products(signs_of(folded)).values()) == 0

    @pytest.mark.parametrize(
        ("k", "classes"),
        [
            (7, "AB=CE=FG AC=BE=DG AD=CG=EF AE=BC=DF AF=BG=DE AG=BF=CD BD=CF=EG"),
            (8, "AB=CE=DH=FG"),
        ],
    )
    def test_b6_alias_classes(self, k: int, classes: str) -> None:
        base = base_design((2,) * k, 16)
        assert base.columns == ("a", "b", "c", "d", "abc", "bcd", "acd", "abd")[:k]
        groups: dict[bytes, set[str]] = {}
        signs = np.stack(base.cells, axis=1) * 2 - 1
        for (i, j), product in two_factor_products(signs).items():
            groups.setdefault(product.tobytes(), set()).add(f"{chr(65 + i)}{chr(65 + j)}")
        found = {frozenset(g) for g in groups.values()}
        assert {frozenset(c.split("=")) for c in classes.split()} <= found
        assert len(found) == 7
        assert {len(g) for g in found} == {k // 2}

    def test_b7_definitive_screening(self) -> None:
        """The library that builds our columns, on a design of known properties."""
        from pydoe import definitive_screening_design

        d = definitive_screening_design(6)
        assert d.shape == (13, 6)
        np.testing.assert_array_equal(d.T @ d, 10 * np.eye(6))
        for i, j in itertools.combinations_with_replacement(range(6), 2):
            assert not (d.T @ (d[:, i] * d[:, j])).any()

    def test_b8_d_efficiency(self) -> None:
        half = np.array([[1, -1, -1, 1], [1, 1, -1, -1], [1, -1, 1, -1], [1, 1, 1, 1]], dtype=float)
        one_at_a_time = np.array([[1, -1, -1, -1], [1, 1, -1, -1], [1, -1, 1, -1], [1, -1, -1, 1]], dtype=float)
        assert d_efficiency(half) == pytest.approx(1.0)
        assert d_efficiency(one_at_a_time) == pytest.approx(0.707107, abs=5e-7)
        assert d_efficiency(np.ones((4, 2))) == 0.0

    def test_b9_supersaturated(self) -> None:
        x = PLACKETT_BURMAN[PLACKETT_BURMAN[:, 10] == 1][:, :10]
        assert x.shape == (6, 10)
        assert not x.sum(0).any()
        s = (x.T @ x)[np.triu_indices(10, 1)]
        assert (np.abs(s) == 2).all() and np.mean(s**2) == 4

    def test_b13_four_levels_from_two_columns(self) -> None:
        base = base_design((4,) + (2,) * 12, 16)
        assert np.bincount(base.cells[0]).tolist() == [4, 4, 4, 4]
        for level, column in itertools.product(range(4), base.cells[1:]):
            assert (2 * column[base.cells[0] == level] - 1).sum() == 0


class TestTwoLevels:
    @pytest.mark.parametrize("k", range(1, 17))
    def test_main_effects_are_orthogonal_and_clear(self, k: int) -> None:
        design = make_design(on_off(k), seed=k)
        n = 2**k if k <= 4 else 16 if k <= 8 else 24 if k <= 12 else 32
        assert design.configurations == n
        signs = signs_of(design)
        np.testing.assert_array_equal(signs.T @ signs, n * np.eye(k))
        assert not signs.sum(0).any()
        for product in two_factor_products(signs).values():
            assert not (signs.T @ product).any()
        np.testing.assert_allclose(design.weights, 2 * signs.T / n, atol=1e-15)
        assert len({tuple(row) for row in signs.tolist()}) == n

    @pytest.mark.parametrize(("n", "k"), sorted(GENERATORS))
    def test_resolution_is_the_shortest_word(self, n: int, k: int) -> None:
        design = make_design(on_off(k), configurations=n, seed=3)
        signs = signs_of(design)
        shortest = next(
            (
                length
                for length in range(1, k + 1)
                if any(abs(signs[:, c].prod(1).sum()) == n for c in itertools.combinations(range(k), length))
            ),
        )
        assert design.resolution == {3: "III", 4: "IV", 5: "V", 6: "VI"}[shortest]
        assert shortest >= (3 if n == 8 and k > 4 else 4)

    def test_declared_interactions_have_classes_of_their_own(self) -> None:
        """{BN, drop, wd, aug, init, clip, lr} with BN×drop, BN×wd, BN×lr, aug×drop, wd×lr: all five separable."""
        pairs = [(0, 1), (0, 2), (0, 6), (3, 1), (2, 6)]
        for seed in range(20):
            design = make_design(on_off(7), interactions=pairs, seed=seed)
            products = [signs_of(design)[:, j] * signs_of(design)[:, k] for j, k in pairs]
            for a, b in itertools.combinations(products, 2):
                assert a @ b == 0
            declared = {f"{a}×{b}" for a, b in design.interaction_rows}
            for name in declared:
                partners = {p[1:] for p in design.aliases[name].split()}
                assert len(partners) == 2 and not partners & declared

    @pytest.mark.parametrize("k", [12, 16])
    def test_many_declared_interactions(self, k: int) -> None:
        pairs = [(0, j) for j in range(1, min(k, 12))]
        design = make_design(on_off(k), interactions=pairs, seed=5)
        planted = np.random.default_rng(0).normal(size=len(design.weights))
        y = design.terms(design.matrix)[:, 1:] @ planted
        np.testing.assert_allclose(design.weights @ y, planted, atol=1e-12)

    def test_interactions_that_cannot_be_separated_are_refused(self) -> None:
        everything = list(itertools.combinations(range(8), 2))
        with pytest.raises(EquipoiseError, match="8 declared interactions of 8 factors cannot be told apart in 16"):
            make_design(on_off(8), interactions=everything[:8], configurations=16, seed=0)
        with pytest.raises(EquipoiseError, match="28 declared interactions of 8 factors cannot be told apart in 32"):
            make_design(on_off(8), interactions=everything, seed=0)
        with pytest.raises(EquipoiseError, match="cannot be told apart"):
            make_design(on_off(7), interactions=[(0, 1)], configurations=8, seed=0)

    def test_many_interactions_take_more_configurations(self) -> None:
        pairs = list(itertools.combinations(range(8), 2))[:8]
        design = make_design(on_off(8), interactions=pairs, seed=0)
        assert design.configurations == 32 and design.resolution == "IV"
        planted = np.arange(1.0, 17.0)
        y = design.terms(design.matrix)[:, 1:] @ planted
        np.testing.assert_allclose(design.weights @ y, planted, atol=1e-12)

    def test_alias_string_is_what_the_estimate_picks_up(self) -> None:
        """Adding a unit of an undeclared interaction moves exactly the estimates whose alias names it."""
        design = make_design(on_off(7), interactions=[(0, 1), (2, 3)], seed=11)
        names = [*design.rows, *(f"{a}×{b}" for a, b in design.interaction_rows)]
        for (j, k), product in two_factor_products(signs_of(design)).items():
            if (j, k) in design.interactions:
                continue
            shift = design.weights @ (product / 2.0)
            for name, moved in zip(names, shift, strict=True):
                term = f"{chr(65 + j)}×{chr(65 + k)}"
                sign = "+" if moved > 0 else "−"
                assert (f"{sign}{term}" in design.aliases[name].split()) == (abs(moved) > 0.5)

    def test_everything_is_drawn_from_the_seed(self) -> None:
        one, two = make_design(on_off(7), seed=4), make_design(on_off(7), seed=4)
        assert one.describe() == two.describe()
        drawn = [make_design(on_off(7), seed=s) for s in range(64)]
        assert {c for d in drawn for c in d.coding} == {(0, 1), (1, 0)}
        first = [d.coding[0] == (0, 1) for d in drawn]
        assert 10 < sum(first) < 54  # 64 fair coins: outside with probability 4e-9
        assert len({d.columns for d in drawn}) > 32
        assert len({d.order for d in drawn}) == 64
        for d in drawn:
            assert sorted(d.order) == list(range(16))

    def test_record_rebuilds_the_matrix(self) -> None:
        design = make_design(on_off(7), seed=9)
        base = base_design((2,) * 7, None)
        for k, (column, code) in enumerate(zip(design.columns, design.coding, strict=True)):
            np.testing.assert_array_equal(np.array(code)[base.cells[base.columns.index(column)]], design.matrix[:, k])


class TestSeveralLevels:
    @pytest.mark.parametrize(
        ("factors", "n", "resolution"),
        [
            ([NORM], 4, "full"),
            ([THREE, *on_off(2)], 12, "full"),
            ([NORM, *on_off(3)], 16, "IV"),
            ([NORM, *on_off(7)], 32, "IV"),
            ([THREE, *on_off(6)], 32, "IV"),
            ([NORM, THREE, *on_off(3)], 32, "IV"),
            ([NORM, *on_off(9)], 32, "III"),
        ],
    )
    def test_sizes_and_clearness(self, factors: list[Factor], n: int, resolution: str) -> None:
        design = make_design(factors, seed=2)
        assert (design.configurations, design.resolution) == (n, resolution)
        clear = [a == "clear of two-factor interactions" for a in design.aliases.values()]
        assert all(clear) == (resolution != "III")
        for j, k in itertools.combinations(range(len(factors)), 2):  # orthogonal: proportional frequencies
            table = np.zeros((len(factors[j].levels), len(factors[k].levels)))
            np.add.at(table, (design.matrix[:, j], design.matrix[:, k]), 1)
            np.testing.assert_allclose(table, np.outer(table.sum(1), table.sum(0)) / n)

    def test_weights_are_differences_of_means(self) -> None:
        design = make_design([NORM, THREE, *on_off(3)], seed=8)
        y = np.random.default_rng(1).normal(size=design.configurations)
        assert design.rows[:5] == ("norm[BatchNorm]", "norm[LayerNorm]", "norm[GroupNorm]", "rate[slow]", "rate[fast]")
        effects = design.weights @ y
        for row, (k, level) in enumerate([(0, 1), (0, 2), (0, 3), (1, 1), (1, 2), (2, 1), (3, 1), (4, 1)]):
            column = design.matrix[:, k]
            assert effects[row] == pytest.approx(y[column == level].mean() - y[column == 0].mean())

    def test_interaction_is_half_the_difference_of_effects(self) -> None:
        design = make_design([THREE, *on_off(2)], interactions=[(0, 1)], seed=8)  # every combination is there
        y = np.random.default_rng(2).normal(size=design.configurations)
        assert design.interaction_rows == (("rate[slow]", "A"), ("rate[fast]", "A"))

        def effect_of_a(level: int) -> float:
            inside = design.matrix[:, 0] == level
            a = design.matrix[:, 1]
            return float(y[inside & (a == 1)].mean() - y[inside & (a == 0)].mean())

        for row, level in enumerate((1, 2)):
            want = (effect_of_a(level) - effect_of_a(0)) / 2
            assert (design.weights @ y)[len(design.rows) + row] == pytest.approx(want)

    def test_off_takes_the_value_that_three_levels_leave_over(self) -> None:
        design = make_design([THREE, *on_off(6)], seed=3)
        assert np.bincount(design.matrix[:, 0]).tolist() == [16, 8, 8]

    def test_aliased_contrasts_are_marked(self) -> None:
        design = make_design([NORM, *on_off(7)], configurations=16, seed=3)
        for name, alias in design.aliases.items():
            k = 0 if name.startswith("norm") else next(i for i, f in enumerate(design.factors) if f.name == name)
            worst = 0.0
            w = design.weights[design.rows.index(name)]
            for i, j in itertools.combinations([i for i in range(8) if i != k], 2):
                for a, b in itertools.product(range(1, len(design.factors[i].levels)), range(1, 2)):
                    p = (design.matrix[:, i] == a).astype(float) * (design.matrix[:, j] == b)
                    p = p - (design.matrix[:, i] == a).mean() * (design.matrix[:, j] == b)
                    p = p - (design.matrix[:, j] == b).mean() * (design.matrix[:, i] == a)
                    worst = max(worst, abs(w @ p))
            assert (alias == "clear of two-factor interactions") == (worst < 1e-9)

    def test_fitted_means_recover_a_planted_model(self) -> None:
        design = make_design([NORM, *on_off(4)], interactions=[(0, 1), (2, 3)], seed=6)
        rng = np.random.default_rng(3)
        norm, singles = rng.normal(size=4), rng.normal(size=4)

        def truth(levels: np.ndarray) -> np.ndarray:
            joint = np.where((levels[:, 0] == 2) & (levels[:, 1] == 1), 0.7, 0.0) - 0.4 * levels[:, 2] * levels[:, 3]
            return norm[levels[:, 0]] + levels[:, 1:] @ singles + joint

        everywhere = np.array(list(itertools.product(range(4), *[range(2)] * 4)))
        np.testing.assert_allclose(design.at(everywhere) @ truth(design.matrix), truth(everywhere), atol=1e-12)
        np.testing.assert_allclose(design.at(everywhere).sum(1), 1.0)


class TestRefusals:
    @pytest.mark.parametrize(
        ("factors", "options", "message"),
        [
            ([], {}, "1 to 16"),
            (on_off(17), {}, "1 to 16"),
            ([Factor("A", ("none",))], {}, "2 to 4 different"),
            ([Factor("A", ("x", "x"))], {}, "2 to 4 different"),
            ([Factor("A", tuple("vwxyz"))], {}, "2 to 4 different"),
            ([*on_off(2), *on_off(1)], {}, "a name of its own"),
            (on_off(3), {"configurations": 16}, "only 8 combinations"),
            (on_off(9), {"configurations": 16}, "ask for 12, 24, 32"),
            (on_off(7), {"configurations": 20}, "ask for 8, 12, 16, 24, 32"),
            (on_off(4), {"configurations": 12, "interactions": [(0, 4)]}, "pairs of factors 0 to 3"),
            (on_off(4), {"interactions": [(0, 1), (1, 0)]}, "different pairs"),
            (on_off(4), {"interactions": [(2, 2)]}, "different pairs"),
            ([NORM, *on_off(5)], {"configurations": 24}, "need 8, 16 or 32"),
            ([NORM, *on_off(5)], {"configurations": 8}, "do not fit 8"),
        ],
    )
    def test_one_line(self, factors: list[Factor], options: dict, message: str) -> None:
        with pytest.raises(EquipoiseError, match=message) as error:
            make_design(factors, seed=0, **options)
        assert "\n" not in str(error.value)

    def test_row_names(self) -> None:
        assert Factor("Dropout(0.3)", ("none", "Dropout(0.3)")).rows == ("Dropout(0.3)",)
        assert Factor("Dropout", ("Dropout(0.2)", "Dropout(0.5)")).rows == ("Dropout[Dropout(0.5)]",)
        assert NORM.rows == ("norm[BatchNorm]", "norm[LayerNorm]", "norm[GroupNorm]")
