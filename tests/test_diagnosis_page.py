"""The page of a diagnosis: it needs nothing from elsewhere, draws nothing without a verdict, and has the trace's
numbers."""

from __future__ import annotations

import base64
import csv
import io
import math
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote

import numpy as np
import pytest
import torch

from equipoise import techniques as T
from equipoise.data import Data
from equipoise.doctor import Course, Diagnosis, doctor
from equipoise.doctor.chart import BINS, chart_of
from equipoise.doctor.diagnose import traced
from equipoise.doctor.mend import Mended
from equipoise.plan import Options
from equipoise.recipe import Recipe, resolve
from equipoise.report.diagnosis import diagnosis_page

HOSTILE = '<script>alert("x")</script>&'


class Page(HTMLParser):
    """Text of figures, hrefs, tags; every tag is closed."""

    VOID = ("meta", "link", "br", "img", "hr")

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.links: list[tuple[str, str]] = []
        self.tags: list[str] = []
        self.captions: list[str] = []
        self.figures: list[list[str]] = []
        self.text = ""
        self.feed(html)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {k: v or "" for k, v in attrs}
        self.tags.append(tag)
        if tag not in self.VOID:
            self.open.append(tag)
        for name in ("href", "src", "xlink:href"):
            if name in given:
                self.links.append((given.get("download", ""), given[name]))
        if tag == "figure":
            self.figures.append([])
        elif "figure" in self.open:
            self.figures[-1].append(tag)
        if tag == "figcaption":
            self.captions.append("")

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)

    def handle_data(self, data: str) -> None:
        if "style" not in self.open:
            self.text += data
        if "figcaption" in self.open:
            self.captions[-1] += data

    def table(self, name: str) -> list[dict[str, str]]:
        [href] = {href for n, href in self.links if n == f"{name}.csv"}
        return list(csv.DictReader(io.StringIO(base64.b64decode(unquote(href).split(",", 1)[1]).decode())))


def rows() -> Data:
    x = torch.randn(300, 5, generator=torch.Generator().manual_seed(0))
    return Data(x, (x.sum(1) > 0).long(), name=HOSTILE)


@pytest.fixture(scope="module")
def ill() -> Diagnosis:
    start = T.SmallRandom(0.001)
    return doctor("mlp(hidden=(8,8,8,8,8,8),activation='tanh')", Recipe(start, T.SGD(0.1)), rows(), steps=60)


@pytest.fixture(scope="module")
def well() -> Diagnosis:
    return doctor("mlp(hidden=(16,))", Recipe(T.AdamW(0.01)), rows(), steps=60)


def test_it_loads_nothing_and_runs_nothing(ill: Diagnosis):
    html = diagnosis_page(ill)
    page = Page(html)
    assert "script" not in page.tags
    assert all(href.startswith(("#", "data:")) for _, href in page.links)
    assert "default-src 'none'" in html
    assert HOSTILE in page.text  # as text
    assert "prefers-color-scheme:dark" in html and "width=device-width" in html
    ids = re.findall(r'\sid="([^"]+)"', html)
    assert len(ids) == len(set(ids))


def test_findings_stand_first_with_all_they_need(ill: Diagnosis):
    html = diagnosis_page(ill)
    text = Page(html).text
    assert ill.findings[0].probe == "activation_profile"
    assert html.index("<article") < html.index("<figure")
    for f in ill.findings:
        for part in (f.reason, f.false_alarms, f.source, f.unit, f.where):
            assert part in text, part
    first = ill.findings[0]
    assert first.value < 0 and first.threshold is not None
    assert f"−{-first.value:.4g}, threshold {first.threshold:.4g}" in text
    assert "- Xavier" in text
    assert "May follow from" in text
    assert len(re.findall("<article", html)) == len({(f.probe, f.symptom) for f in ill.findings})


def test_no_figure_without_a_verdict_and_its_numbers(ill: Diagnosis, well: Diagnosis):
    for d in (ill, well):
        page = Page(diagnosis_page(d))
        assert len(page.captions) == len(page.figures) == 7
        for caption, tags in zip(page.captions, page.figures, strict=True):
            assert re.match(r"[A-Z][^.]+\. (Found|Nothing found)", caption), caption
            assert any(c.isdigit() for c in caption), caption  # no verdict without a number
            assert {"svg", "table", "details"} <= set(tags)
    said = Page(diagnosis_page(ill)).captions
    assert "Found. Activations vanish with depth" in said[0]
    assert "Found. Gradients vanish" in said[2]


def test_a_healthy_set_up_is_told_so(well: Diagnosis):
    page = Page(diagnosis_page(well))
    assert "Nothing is wrong" in page.text
    assert "article" not in page.tags
    assert not any(" Found." in c for c in page.captions)


def test_the_tables_have_the_numbers(well: Diagnosis):
    page = Page(diagnosis_page(well))
    measures = page.table("measures")
    assert [m["probe"] for m in measures] == [m.probe for m in well.measures]
    assert [float(m["value"]) for m in measures] == pytest.approx([m.value for m in well.measures], nan_ok=True)
    bins = page.table("histograms")
    assert len(bins) == BINS
    assert sum(float(b["end"]) for b in bins) == pytest.approx(1.0, rel=1e-5)
    assert [float(r["loss"]) for r in page.table("losses")] == pytest.approx(list(well.chart.losses))
    assert [int(r["step"]) for r in page.table("gradients")] == [0, 3, 30, 50, 60]


def test_what_is_drawn_is_what_was_measured():
    recipe = resolve(Recipe(T.SGD(0.1)), "classify")
    trace = traced("mlp(hidden=(16,))", recipe, rows(), Course(60), Options())
    c = chart_of(trace)
    a = trace.last.layers[0].a
    low, high = c.edges
    expected, _ = np.histogram(a.double().clamp(low, high).numpy(), BINS, (low, high))
    assert np.abs(np.array(c.histograms[0].end) - expected / a.numel()).max() < 2 / a.numel()  # float edges of bins
    assert c.depths[0].scale_end == pytest.approx(float(a.double().square().mean()), rel=1e-6)
    g = trace.last.grads["layers.0.weight"].double()
    assert c.depths[0].gradient_end == pytest.approx(math.sqrt(float(g.square().mean())), rel=1e-6)
    assert c.along[c.lengths.index(0.0)] == pytest.approx(trace.turn.gradient(trace.turn.params)[1], rel=1e-6)
    assert c.along[c.lengths.index(1.0)] == pytest.approx(trace.turn.gradient(trace.updated)[1], rel=1e-6)
    assert list(c.lengths) == sorted(c.lengths)


def test_what_exploded_does_not_hide_the_rest():
    from equipoise.doctor.chart import _edges

    start, end = [torch.linspace(-1, 1, 1001)], [torch.linspace(-1e9, 1e9, 1001)]
    assert _edges(start, end) == pytest.approx((-19.8, 19.8))
    assert _edges(start, start) == pytest.approx((-0.99, 0.99))
    assert _edges([torch.zeros(5)], [torch.full((5,), math.nan)]) == (-0.5, 0.5)


@pytest.mark.parametrize(
    ("mended", "text"),
    [
        (
            Mended(Recipe(), 0.5, 0.2, 0.7, 3),
            "50 % of the loss on stop goes (95 % interval 20 % to 70 %). It is a remedy.",
        ),
        (Mended(Recipe(), 0.1, -0.2, 0.3, 3), "−20 % to 30 %). It is not shown to be a remedy."),
        (Mended(Recipe(), math.nan, math.nan, math.nan, 3), "not finite: it is not shown to be a remedy"),
    ],
)
def test_a_remedy_is_one_where_the_rerun_shows_it(ill: Diagnosis, mended: Mended, text: str):
    assert text in Page(diagnosis_page(replace(ill, mended=mended))).text


def test_a_broken_training_has_a_page_too(tmp_path: Path):
    x = torch.randn(200, 3, generator=torch.Generator().manual_seed(0))
    data = Data(x, x.sum(1, keepdim=True), task="regress", name="broken")
    seen = doctor("mlp(hidden=(8,))", Recipe(T.SGD(1e6)), data, steps=40)
    assert not seen.ok
    path = seen.report(tmp_path)
    assert path == tmp_path / "doctor.html"
    assert "non-finite" in Page(path.read_text(encoding="utf-8")).text
    assert seen.report(tmp_path / "other.html").name == "other.html"
