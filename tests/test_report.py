"""The page of a study: what it must show, that it needs nothing from elsewhere, and that it says what is missing."""

from __future__ import annotations

import base64
import csv
import dataclasses
import importlib.util
import io
import math
import re
import sys
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from equipoise.report import numbers as num
from equipoise.report import study_page
from equipoise.report.repeat import HELD, HELD_ZERO, MOVING, PLACEBOS, SEEDS_ONLY, STUDIES, THREE_FACTOR, UNDECLARED
from equipoise.report.style import DARK, LIGHT
from equipoise.study.design import Factor, make_design
from equipoise.study.effects import effects
from equipoise.study.finished import Study
from equipoise.study.recommend import Confirmation, recommend

from .studies import HOSTILE, NAMES, RATES, made

BENCH = Path(__file__).parents[1] / "benchmarks" / "evidence" / "simulate.py"
ESTIMAND = (
    "average effect over the other techniques, for this training set and this learning-rate rule, "
    "over new seeds and new examples of the same source"
)


class Page(HTMLParser):
    """The page as a reader's program sees it: tags, attributes, text by element, and that every tag is closed."""

    INLINE = {"b", "span", "code", "a"}
    VOID = {"meta", "link", "br", "img", "input", "hr"}

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.texts: list[str] = []
        self.figures: list[set[str]] = []
        self.feed(html)
        self.close()
        assert self.open == [], f"not closed: {self.open}"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert len({k for k, _ in attrs}) == len(attrs), f"an attribute of {tag} is given twice"
        self.texts.append("" if tag in self.INLINE else " ")
        self.tags.append((tag, dict(attrs)))
        if tag == "figure":
            self.figures.append(set())
        if "figure" in self.open:
            self.figures[-1].add(tag if tag != "a" else f"a {dict(attrs).get('download')}")
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open and self.open[-1] == tag, f"</{tag}> closes {self.open[-1:]}"
        self.open.pop()
        self.texts.append("" if tag in self.INLINE else " ")

    def handle_data(self, data: str) -> None:
        if "style" not in self.open:
            self.texts.append(data)

    @property
    def text(self) -> str:
        return " ".join("".join(self.texts).split())

    def of(self, *tags: str) -> list[dict[str, str | None]]:
        return [a for t, a in self.tags if t in tags]


@pytest.fixture(scope="module")
def study() -> Study:
    return made()


@pytest.fixture(scope="module")
def html(study: Study) -> str:
    return study_page(study)


@pytest.fixture(scope="module")
def page(html: str) -> Page:
    return Page(html)


def files(page: Page) -> dict[str, list[dict[str, str]]]:
    """The CSV files that lie in the page's links."""
    found = {}
    for a in page.of("a"):
        if a.get("download"):
            head, _, data = str(a["href"]).partition("base64,")
            assert head == "data:text/csv;charset=utf-8;"
            found[str(a["download"])] = list(csv.DictReader(io.StringIO(base64.b64decode(data).decode())))
    return found


class TestFirstScreen:
    def test_question_estimand_and_answer_come_first(self, html: str, page: Page) -> None:
        assert ESTIMAND in page.text
        assert html.index("The question.") < html.index(ESTIMAND) < html.index('class="verdicts"')
        assert html.index('class="recommended"') < html.index("<nav") < html.index("<figure")
        assert "lower is better" in page.text and "nats per example" in page.text
        assert [t for t, _ in page.tags].count("h1") == 1

    def test_every_verdict_with_its_numbers(self, study: Study, page: Page) -> None:
        rows = [r for r in study.found.rows if r.metric == "loss"]
        assert {"pays", "costs"} <= {r.verdict for r in rows}
        d = num.decimals(r.se for r in rows)
        for r in rows:
            assert r.technique in page.text and r.verdict in page.text
            assert f"[{num.signed(r.low, d)}, {num.signed(r.high, d)}]" in page.text
            assert f"[{num.signed(r.low_sim, d)}, {num.signed(r.high_sim, d)}]" in page.text
            seeds, examples = num.plain(r.se_seed, d), num.plain(r.se_example, d)
            assert f"± {num.plain(r.se, d)}: seeds {seeds}, examples {examples}" in page.text
            assert r.advice in page.text and r.alias in page.text

    def test_rows_come_most_useful_first(self, page: Page) -> None:
        order = [a["technique"] for a in files(page)["forest.csv"]]
        effect = [float(a["effect"]) for a in files(page)["forest.csv"]]
        assert effect == sorted(effect) and order[0] == "BatchNorm" and order[-1] == "Dropout"

    def test_advice_of_an_undecided_row(self, study: Study) -> None:
        row = dataclasses.replace(study.found.rows[2], verdict="undecided", more_seeds=None, more_examples=900)
        found = dataclasses.replace(study.found, rows=(*study.found.rows[:2], row, *study.found.rows[3:]))
        text = Page(study_page(dataclasses.replace(study, found=found))).text
        assert "more seeds will not help; about 900 more examples would decide" in text
        assert re.search(r"WeightDecay (is|and \w+ are) undecided", text)

    @pytest.mark.parametrize("confirmed", [True, False])
    def test_confirmation(self, study: Study, confirmed: bool) -> None:
        low, high = (-0.3, -0.1) if confirmed else (-0.3, 0.1)
        c = Confirmation("loss", 1.0, 1.2, -0.2, low, high, 10, confirmed, 0.4)
        text = Page(study_page(dataclasses.replace(study, confirmation=c))).text
        assert "On 10 fresh seeds and the test rows" in text and "ρ = 0.40" in text
        assert ("Confirmed On 10" in text) == confirmed
        assert ("Not confirmed On 10" in text) == (not confirmed)
        assert ("Use the baseline" in text) == (not confirmed)
        assert ("recipe.candidate.yaml" in text) == (not confirmed)
        shown = text[text.index("recipe.yaml is the") :]
        assert shown.startswith(f"recipe.yaml is the {'candidate' if confirmed else 'baseline'}:")
        assert ("BatchNorm" in shown[: shown.index("Why each")]) == confirmed

    @pytest.mark.parametrize(("confirmed", "said"), [(True, "confirmed."), (False, "did not confirm.")])
    def test_confirmation_of_a_rate_alone(self, study: Study, confirmed: bool, said: str) -> None:
        choice = dataclasses.replace(study.recommendation, levels=(0,) * 7)
        c = Confirmation("loss", 1.0, 1.2, -0.2, -0.3, -0.1 if confirmed else 0.1, 10, confirmed, 0.4)
        text = Page(study_page(dataclasses.replace(study, recommendation=choice, confirmation=c))).text
        assert f"No technique is recommended, only another learning rate, which fresh runs {said}" in text


class TestSelfContained:
    def test_nothing_is_loaded_from_elsewhere(self, html: str, page: Page) -> None:
        for _, a in page.tags:
            for name in ("src", "href", "srcset", "data", "action", "poster"):
                value = a.get(name)
                assert value is None or re.match(r"#|data:", value), f"{name}={value}"
        assert not {"script", "img", "iframe", "object", "embed", "base"} & {t for t, _ in page.tags}
        style = html[html.index("<style>") : html.index("</style>")]
        assert "@import" not in style and "url(" not in style
        assert not re.search(r"https?:|//\w", re.sub(r"base64,[\w+/=]+", "", html))
        (policy,) = (a["content"] for a in page.of("meta") if a.get("http-equiv") == "Content-Security-Policy")
        assert str(policy).startswith("default-src 'none'")

    def test_ids_are_single_and_every_reference_has_its_target(self, page: Page) -> None:
        ids = [str(a["id"]) for _, a in page.tags if a.get("id")]
        assert len(ids) == len(set(ids))
        wanted = {str(a["href"])[1:] for _, a in page.tags if str(a.get("href", "")).startswith("#")}
        wanted |= {m for _, a in page.tags for v in a.values() for m in re.findall(r"url\(#([^)]+)\)", v or "")}
        assert wanted and wanted <= set(ids)

    def test_light_and_dark(self, html: str) -> None:
        assert "color-scheme:light dark" in html
        dark = html[html.index("@media(prefers-color-scheme:dark)") :]
        for name in DARK:
            assert f"--{name}:{LIGHT[name]}" in html and f"--{name}:{DARK[name]}" in dark
        svgs = re.findall(r"<svg.*?</svg>", html, flags=re.DOTALL)
        assert len(svgs) == 5
        for svg in svgs:  # all colours are variables of the page: none is of one palette only
            assert "var(--" in svg and not re.search(r"(fill|stroke): ?#", svg)

    @pytest.mark.parametrize("palette", [LIGHT, DARK], ids=["light", "dark"])
    def test_contrast(self, palette: dict[str, str]) -> None:
        """WCAG 2.2: text has at least 4.5 : 1 against every ground it stands on."""

        def luminance(colour: str) -> float:
            c = np.array([int(colour[i : i + 2], 16) for i in (1, 3, 5)]) / 255
            linear = np.where(c <= 0.04045, c / 12.92, ((c + 0.055) / 1.055) ** 2.4)
            return float(linear @ [0.2126, 0.7152, 0.0722])

        assert luminance("#ffffff") == pytest.approx(1.0) and luminance("#000000") == 0.0
        for ground in ("paper", "raised", "band"):
            for text in ("ink", "muted", "pays", "costs"):
                a, b = sorted((luminance(palette[ground]), luminance(palette[text])))
                assert (b + 0.05) / (a + 0.05) >= 4.5, f"{text} on {ground}"

    def test_size(self, html: str) -> None:
        assert len(html.encode()) < 300_000
        assert len(study_page(made(epochs=60)).encode()) < 500_000

    def test_same_study_same_page(self, study: Study, html: str) -> None:
        assert study_page(study) == html


class TestEvidence:
    def test_every_figure_has_a_label_a_caption_a_table_and_a_csv(self, page: Page) -> None:
        assert len(page.figures) == 5
        for tags in page.figures:
            assert {"svg", "figcaption", "table", "caption"} <= tags
            assert any(t.startswith("a ") and t.endswith(".csv") for t in tags)
        assert all(a.get("role") == "img" and a.get("aria-label") for a in page.of("svg"))
        assert len(page.of("table")) == len(page.of("caption"))

    def test_text_in_figures_is_text(self, html: str, study: Study) -> None:
        forest = re.findall(r"<svg.*?</svg>", html, flags=re.DOTALL)[0]
        for r in study.found.rows:
            assert f">{r.technique}</text>" in forest
        assert ">← better</text>" in forest and ">worse →</text>" in forest

    def test_marks_stand_where_the_numbers_are(self, study: Study, html: str) -> None:
        """The effects' markers in the forest plot, by their places in the drawing, lie on one line with the numbers."""
        forest = re.findall(r"<svg.*?</svg>", html, flags=re.DOTALL)[0]
        marks = re.findall(
            r'<use href="#forest-m[^"]+" x="([\d.]+)" y="([\d.]+)" style="fill: [^"]*stroke-width: 1.5', forest
        )
        effect = sorted(r.effect for r in study.found.rows if r.metric == "loss")
        assert len(marks) == len(effect)
        x, y = np.array(marks, dtype=float).T
        slope, start = np.polyfit(effect, x, 1)
        assert slope > 0.0 and np.abs(x - start - slope * np.array(effect)).max() < 0.01
        assert (np.diff(y) > 0).all()

    def test_csv_holds_every_number_unrounded(self, study: Study, page: Page) -> None:
        got = files(page)
        assert {"effects.csv", "forest.csv", "trade.csv", "interactions.csv", "rates.csv", "curves.csv"} <= set(got)
        assert len(got["effects.csv"]) == len(study.found.rows)
        for record, row in zip(got["effects.csv"], study.found.rows, strict=True):
            assert record["technique"] == row.technique and float(record["effect"]) == row.effect
            assert record["p"] == "" if math.isnan(row.p) else float(record["p"]) == row.p
        order = [record["technique"] for record in got["forest.csv"]]
        for record, t in zip(
            got["trade.csv"], sorted(study.trades, key=lambda t: order.index(t.technique)), strict=True
        ):
            assert record["technique"] == t.technique
            assert float(record["bias2"]) == t.bias2 and record["class"] == t.kind
        for record, r in zip(
            got["rates.csv"], sorted(study.by_rate, key=lambda r: order.index(r.technique)), strict=True
        ):
            assert record["technique"] == r.technique
            assert [float(record[f"effect at {x:g}"]) for x in RATES] == list(r.effect)
        assert len(got["curves.csv"]) == 16 * 12

    def test_curves_are_those_of_the_best_rate(self, study: Study, page: Page) -> None:
        rate = int(study.trained.stop[3].mean(-1).argmin())
        want = np.mean([[e["stop_loss"] for e in h] for h in study.trained.histories[3][rate]], axis=0)
        rows = [r for r in files(page)["curves.csv"] if r["configuration"] == "4"]
        np.testing.assert_allclose([float(r["mean"]) for r in rows], want, rtol=1e-5)
        assert {r["rate"] for r in rows} == {f"×{RATES[rate]:g}"}

    def test_cost_is_the_mean_time_with_and_without(self, study: Study, page: Page) -> None:
        on = study.design.matrix[:, 1] == 1
        (row,) = (r for r in files(page)["costs.csv"] if r["technique"] == "Dropout")
        assert float(row["seconds on"]) == pytest.approx(study.trained.seconds[on].mean())
        assert float(row["seconds off"]) == pytest.approx(study.trained.seconds[~on].mean())

    def test_cost_by_itself_in_time_and_memory(self, page: Page, study: Study) -> None:
        """Every technique of the made study takes twice the time and 1.5 times the memory when it is alone."""
        rows = files(page)["costs.csv"]
        assert {float(r["bytes on"]) / float(r["bytes off"]) for r in rows} == {1.5}
        text = page.text[page.text.index("Cost in time and memory") :]
        assert text.count("2.00× 3.00 1.50×") == len(NAMES)
        bare = Page(study_page(dataclasses.replace(study, facts={})))
        assert "Memory was not measured." in bare.text and "Memory alone" not in bare.text

    def test_looks_rates_and_caps_are_told(self, study: Study, page: Page) -> None:
        chosen = [[0.25, 1.0, 4.0]] * study.design.configurations
        looks = {"declared": [3, 6, 9], "taken": [3, 6], "level": 0.014}
        more = dataclasses.replace(study, chosen=chosen, looks=looks, capped={"BatchNorm": 2, "Dropout": 0})
        told = Page(study_page(more))
        assert "declared beforehand at 3, 6, 9 seed blocks; taken at 3, 6" in told.text
        assert "scored as these: 2 with BatchNorm." in told.text and "with Dropout." not in told.text
        assert {r["rates"] for r in files(told)["design.csv"]} == {"×0.25, ×1, ×4"}
        assert "declared beforehand at" not in page.text and "rates" not in files(page)["design.csv"][0]

    def test_the_trade_is_told_in_every_loss(self, study: Study, page: Page) -> None:
        got = files(page)
        for form, rows in study.forms.items():
            records = {r["technique"]: r for r in got[f"trade-{form}.csv"]}
            assert {t.technique: t.variance for t in rows} == {k: float(r["variance"]) for k, r in records.items()}
            assert records.keys() == {r["technique"] for r in got["trade.csv"]}
        assert "the same in cross-entropy (Bregman information, jackknifed)" in page.text
        assert "the same in zero-one loss (Kohavi and Wolpert)" in page.text

    def test_groups_are_told(self, study: Study) -> None:
        facts = study.facts | {"groups": {"assess": 27, "test": 25}}
        text = Page(study_page(dataclasses.replace(study, facts=facts))).text
        assert "27 groups in the 270 rows of assess and 25 groups in the 269 rows of test" in text
        assert "Rows are grouped" not in Page(study_page(study)).text

    def test_design_in_full(self, study: Study, page: Page) -> None:
        rows = files(page)["design.csv"]
        assert [[int(r[n] == "on") for n in NAMES] for r in rows] == study.design.matrix.tolist()
        order = [study.design.order.index(c) + 1 for c in range(16)]
        assert [int(r["run order"]) for r in rows] == order
        aliases = {r["estimate"]: r["alias"] for r in files(page)["aliases.csv"]}
        assert aliases == study.design.aliases
        assert f"ρ = {study.found.rho:.2f}" in page.text

    def test_everything_needed_to_repeat_it(self, study: Study, page: Page) -> None:
        for what in (
            "equipoise study digits --seeds 3", "3152ef29", "2.13.0", "fit 1078, stop 180, assess 270, test 269",
            study.candidate.to_yaml().strip(), "scikit-learn", "Looks at the test rows 1", "12, 64",
        ):  # fmt: skip
            assert " ".join(what.split()) in page.text
        assert "n/2 = 539" in page.text

    @pytest.mark.parametrize("seeds", MOVING)
    def test_coverage_is_quoted_as_the_bench_measures_it(self, page: Page, seeds: int) -> None:
        """500 studies against the quoted share of 20,000: within five standard errors and the rounding."""
        spec = importlib.util.spec_from_file_location("simulate", BENCH)
        assert spec is not None and spec.loader is not None
        bench = sys.modules["simulate"] = importlib.util.module_from_spec(spec)  # dataclasses look their module up
        spec.loader.exec_module(bench)
        (scenario,) = (s for s in bench.SCENARIOS if s.name.startswith("one effect moves"))
        share = MOVING[seeds]
        se = math.sqrt(share * (1 - share) * (1 / 500 + 1 / STUDIES))
        assert abs(bench.measure(scenario, seeds, 500).lowest - share) < 5 * se + 0.005
        assert f"{round(100 * share)} % of studies of {seeds} seeds" in page.text

    def test_caveats_quote_the_results_that_lie_there(self, page: Page) -> None:
        rows = list(csv.DictReader((BENCH.parent / "results" / "simulation.csv").read_text().splitlines()))
        assert {int(r["studies"]) for r in rows} == {STUDIES}

        def ends(column: str, *, holds: bool | None = None, name: str = "") -> list[float]:
            found = [
                float(r[column])
                for r in rows
                if r["scenario"].startswith(name) and (holds is None or (r["asserted"] == "True") == holds)
            ]
            return [round(min(found), 2), round(max(found), 2)]

        moving = {int(r["seeds"]): round(float(r["lowest"]), 2) for r in rows if r["scenario"].startswith("one effect")}
        assert moving == MOVING
        assert ends("coverage", holds=True) == list(HELD)
        assert ends("seed_only", name="mostly example error") == list(SEEDS_ONLY)
        assert ends("coverage", name="undeclared interactions") == list(UNDECLARED)
        assert ends("coverage", name="35 three-factor interactions, ±0.25σ") == list(THREE_FACTOR)
        lines = (BENCH.parent / "results" / "placebo-paired.csv").read_text().splitlines()
        real = list(csv.DictReader(line for line in lines if not line.startswith("#")))
        held = sum(float(r["low"]) <= 0.0 <= float(r["high"]) for r in real) / len(real)
        assert (len(real), round(held, 3)) == (PLACEBOS, HELD_ZERO)
        assert "In 600 real studies" in page.text and "held zero in 90.5 %" in page.text
        assert "95 to 97 %" in page.text and "86 to 91 %" in page.text and "20,000 studies of each kind" in page.text


class TestHonestGaps:
    def test_what_was_not_done_is_said(self) -> None:
        bare = dataclasses.replace(made(rates=(1.0,)), trades=(), confirmation=None, facts={}, notes=[], test_looks=0)
        page = Page(study_page(bare))
        for text in (
            "The trade between bias² and variance was not measured", "One fixed learning rate was used, ×1",
            "No confirmation was run", "Started from Python", "not recorded", "looked at not once",
        ):  # fmt: skip
            assert text in page.text, text
        assert len(page.figures) == 3

    def test_identical_runs(self) -> None:
        study = made(NAMES[:4], same="WeightDecay")
        assert study.found.row("WeightDecay").verdict == "no effect: identical runs"
        page = Page(study_page(study))
        assert "WeightDecay changed nothing: its runs are identical." in page.text
        assert "no error: identical runs" in page.text
        (row,) = (r for r in files(page)["forest.csv"] if r["technique"] == "WeightDecay")
        assert row["p"] == "" and float(row["effect"]) == 0.0

    def test_failures_are_counted(self) -> None:
        study = made(fails=5)
        page = Page(study_page(study))
        assert "5 of 144 runs diverged" in page.text and "none is left out" in page.text
        for k, name in enumerate(NAMES):
            on = study.design.matrix[:, k] == 1
            (row,) = (r for r in files(page)["failures.csv"] if r["technique"] == name)
            assert int(row["failed on"]) == study.trained.failed[on].sum()
            assert int(row["failed off"]) == study.trained.failed[~on].sum()
        assert "None of 144 runs diverged." in Page(study_page(made())).text

    def test_missing_numbers_are_dashes(self, study: Study) -> None:
        gone = dict.fromkeys(
            ("effect", "low", "high", "low_sim", "high_sim", "se", "se_seed", "se_example", "df", "p"), math.nan
        )
        row = dataclasses.replace(study.found.rows[0], verdict="undecided", **gone)
        odd = dataclasses.replace(study.trades[0], bias2=math.nan, bias2_low=math.nan, variance_high=math.inf)
        found = dataclasses.replace(study.found, rows=(row, *study.found.rows[1:]), rho=math.nan)
        text = Page(study_page(dataclasses.replace(study, found=found, trades=(odd, *study.trades[1:])))).text
        assert "no interval" in text and "no estimate" in text and num.NONE in text
        assert "The pairing correlation could not be measured" in text
        assert not re.search(r"\b(nan|None(?! of)|inf)\b", text)

    def test_curves_of_failed_and_stopped_runs(self, study: Study) -> None:
        histories = [[[list(h) for h in seeds] for seeds in rates] for rates in study.trained.histories]
        for rate in range(3):
            histories[0][rate] = [[{"epoch": 1.0, "stop_loss": math.nan}], [], [{"epoch": 1.0}]]
            histories[1][rate][0] = histories[1][rate][0][:4]
            histories[2][rate][1] = [{**e, "stop_loss": 1e30} for e in histories[2][rate][1]]
        trained = dataclasses.replace(study.trained, histories=histories)
        page = Page(study_page(dataclasses.replace(study, trained=trained)))
        assert "Runs that stopped early leave the mean of those still training." in page.text
        assert "1 of the curves leaves the frame" in page.text
        none = dataclasses.replace(study.trained, histories=[[[[] for _ in s] for s in r] for r in histories])
        assert "No run left a curve" in Page(study_page(dataclasses.replace(study, trained=none))).text

    def test_an_arm_that_was_not_run_is_not_shown_as_if_it_had_been(self, study: Study, page: Page) -> None:
        levels = np.array(study.recommendation.levels)
        apart = int((study.design.matrix != levels).sum(1).min())
        assert apart > 0, "the plan of this test: a recommended combination outside the sixteen that were run"
        assert f"not run itself; the nearest, {apart} of 7 factors apart" in page.text

    def test_several_levels(self) -> None:
        study = made(NAMES[:3], rates=(1.0,))
        names = ("Dropout", ("Dropout(p=0.2)", "Dropout(p=0.5)"))
        factors = [Factor(*names), *study.design.factors[::2]]
        design = make_design(factors, interactions=[(0, 1)], seed=5)
        y = np.random.default_rng(0).normal(size=(8, 3, 60))
        found = effects(design, {"loss": y}, primary="loss")
        study = dataclasses.replace(
            study, design=design, found=found, recommendation=recommend(design, y, found), trades=(), by_rate=()
        )
        page = Page(study_page(study))
        assert "Dropout(p=0.5) instead of Dropout(p=0.2)" in page.text
        assert {r["Dropout"] for r in files(page)["design.csv"]} == {"Dropout(p=0.2)", "Dropout(p=0.5)"}


def test_hostile_names_stay_text() -> None:
    study = made((HOSTILE, "a\nb\x00\x1b", "C" * 300, "D"))
    study = dataclasses.replace(
        study,
        question={**study.question, "data": HOSTILE, "model": HOSTILE, "base": [HOSTILE]},
        notes=[HOSTILE],
        facts={"command": HOSTILE, "source": HOSTILE, "versions": {HOSTILE: HOSTILE}, "fingerprint": HOSTILE},
    )
    html = study_page(study)
    page = Page(html)
    assert not page.of("script", "img")
    assert html.count("<script") == 0
    assert page.text.count(HOSTILE) >= 8
    assert all(re.match(r"#|data:", str(v)) for _, a in page.tags for k, v in a.items() if k in ("src", "href"))


@pytest.mark.parametrize(
    ("x", "d", "want"),
    [(0.0213, 3, "+0.021"), (-0.0213, 3, "−0.021"), (0.0, 3, "0.000"), (-1e-5, 3, "−0.000"), (math.nan, 3, "—")],
)
def test_signed(x: float | None, d: int, want: str) -> None:
    assert num.signed(x, d) == want


def test_numbers_in_words() -> None:
    assert num.decimals([0.021, 0.034, math.nan]) == 3 and num.decimals([]) == 4 and num.decimals([250.0]) == 0
    assert num.between(-0.5, math.nan, 2) == "no interval" and num.between(-0.5, 0.25, 2) == "[−0.50, +0.25]"
    assert [num.p_value(p) for p in (0.00003, 0.0123, 1.0, None)] == ["< .0001", ".0123", "1.0000", "—"]
    assert (num.duration(3.14159), num.duration(600), num.duration(3 * 3600 * 2)) == ("3.14 s", "10 min", "6 h 00 min")
    assert (num.listed(["a"]), num.listed("abc"), num.listed([])) == ("a", "a, b and c", "")
