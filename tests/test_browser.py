"""The page of a study in a real browser: it opens without an error or a request, in light and dark, on a phone.

Chromium is that of the machine (Debian's ``chromium``, or Chrome); Playwright drives it and downloads nothing.
"""

from __future__ import annotations

import csv
import dataclasses
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest

from equipoise.report import study_page
from equipoise.report.style import DARK, LIGHT

from .studies import HOSTILE, made

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

PHONE, DESK = (390, 844), (1280, 900)
LONG = "W" * 80
# What lies further right than the window, unless it is inside of something that scrolls by itself.
SPILLED = """() => [...document.querySelectorAll('main *')].filter(e => {
    for (let p = e; p; p = p.parentElement)
        if (['auto', 'scroll', 'hidden'].includes(getComputedStyle(p).overflowX)) return false;
    return e.getBoundingClientRect().right > document.documentElement.clientWidth + 0.5;
}).map(e => e.tagName + ' ' + e.className + ': ' + e.textContent.slice(0, 40))"""
# Text whose colour on the page's ground is below WCAG's 4.5 : 1 (large or bold text included).
FAINT = """() => {
    const rgb = c => c.match(/[\\d.]+/g).slice(0, 3).map(v => v / 255)
        .map(v => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
    const light = c => { const [r, g, b] = rgb(c); return 0.2126 * r + 0.7152 * g + 0.0722 * b; };
    const ground = light(getComputedStyle(document.body).backgroundColor);
    const ratio = c => { const l = light(c); return (Math.max(l, ground) + 0.05) / (Math.min(l, ground) + 0.05); };
    const read = e => e.closest('svg') ? getComputedStyle(e).fill : getComputedStyle(e).color;
    return [...document.querySelectorAll('main *')]
        .filter(e => [...e.childNodes].some(n => n.nodeType === 3 && n.data.trim()) && e.getClientRects().length)
        .filter(e => ratio(read(e)) < 4.5).map(e => `${e.tagName} ${read(e)} ${e.textContent.slice(0, 30)}`);
}"""


class Opened(NamedTuple):
    """A page, what it told its console, and what it asked for beside itself."""

    page: Page
    told: list[str]
    asked: list[str]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed: pip install .[dev]")
    found = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if found is None:
        pytest.skip("no chromium or chrome on this machine: apt-get install chromium")
    with playwright.sync_playwright() as p:
        started = p.chromium.launch(executable_path=found, args=["--no-sandbox"])
        yield started
        started.close()


@pytest.fixture(scope="module")
def html() -> str:
    return study_page(made())


@pytest.fixture
def opens(browser: Browser, tmp_path: Path) -> Iterator[Any]:
    contexts = []

    def of(html: str, size: tuple[int, int] = DESK, scheme: Any = "light") -> Opened:
        file = tmp_path / "report.html"
        file.write_text(html, encoding="utf-8")
        context = browser.new_context(viewport={"width": size[0], "height": size[1]}, color_scheme=scheme)
        contexts.append(context)
        page, told, asked = context.new_page(), list[str](), list[str]()
        page.on("console", lambda m: told.append(m.text))
        page.on("pageerror", lambda e: told.append(str(e)))
        page.on("request", lambda r: asked.append(r.url) if r.url != file.as_uri() else None)
        page.goto(file.as_uri(), wait_until="load")
        return Opened(page, told, [url for url in asked if not url.startswith("data:")])

    yield of
    for context in contexts:
        context.close()


@pytest.mark.parametrize(("scheme", "palette"), [("light", LIGHT), ("dark", DARK)])
def test_it_opens_silently_and_follows_the_readers_scheme(
    opens: Any, html: str, scheme: str, palette: dict[str, str]
) -> None:
    page, told, asked = opens(html, DESK, scheme)
    assert (told, asked) == ([], [])
    assert page.title() == "Which techniques pay on digits? — Equipoise"
    ground = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert ground == f"rgb({', '.join(str(int(palette['paper'][i : i + 2], 16)) for i in (1, 3, 5))})"
    assert page.evaluate(FAINT) == []
    assert page.locator("svg").count() == 5 and all(
        page.locator("svg").nth(i).bounding_box()["height"] > 100 for i in range(5)
    )
    text = page.evaluate(
        "[...document.querySelectorAll('svg text')].map(e => parseFloat(getComputedStyle(e).fontSize))"
    )
    assert len(text) > 50 and min(text) >= 10


def test_what_would_run_or_load_is_refused(opens: Any, html: str) -> None:
    """The console is silent because nothing is there to refuse: what is planted is refused, and told."""
    planted = '<script>document.title = "run"</script><img src="https://a.example/x.png">'
    page, told, asked = opens(html.replace("<main>", f"<main>{planted}"))
    assert len(told) == 2 and all("Content Security Policy" in t for t in told)
    assert asked == ["https://a.example/x.png"], "the checks above see a request"
    assert page.title() != "run"


@pytest.mark.parametrize("name", ["usual", "hostile"])
def test_nothing_spills_over_on_a_phone(opens: Any, html: str, name: str) -> None:
    """At 390 px, all tables unfolded; wide tables scroll by themselves. Names may be long and may look like markup."""
    if name == "hostile":
        study = made((LONG, HOSTILE, "C", "D"))
        facts = study.facts | {"command": "c" * 900, "source": HOSTILE}
        html = study_page(dataclasses.replace(study, notes=["n" * 400, HOSTILE], facts=facts))
    page, told, asked = opens(html.replace("<details", "<details open"), PHONE, "dark")
    assert (told, asked) == ([], [])
    wide, window = page.evaluate("[document.documentElement.scrollWidth, document.documentElement.clientWidth]")
    assert window == 390 and wide <= window
    assert page.evaluate(SPILLED) == []
    text = page.evaluate(
        "[...document.querySelectorAll('svg text')].map(e => e.getBoundingClientRect().height).filter(h => h > 0)"
    )
    assert min(text) >= 9  # letters of figures can be read


def test_a_table_unfolds_and_its_csv_is_saved(opens: Any, html: str, tmp_path: Path) -> None:
    page, told, _ = opens(html, PHONE)
    details = page.locator("details.numbers").first
    link = details.locator("a.csv")
    assert not link.is_visible()
    details.locator("summary").click()
    with page.expect_download() as download:
        link.click()
    download.value.save_as(tmp_path / "saved.csv")
    rows = list(csv.DictReader((tmp_path / "saved.csv").read_text(encoding="utf-8").splitlines()))
    assert download.value.suggested_filename == "forest.csv" and len(rows) == 7
    found = {r.technique: r.effect for r in made().found.rows if r.metric == "loss"}
    assert {r["technique"]: float(r["effect"]) for r in rows} == found
    assert told == []


def test_every_section_is_reached_from_the_keyboard(opens: Any, html: str) -> None:
    page, told, _ = opens(html)
    for link in page.locator("nav a").all():
        link.focus()
        page.keyboard.press("Enter")
        target = (link.get_attribute("href") or "").removeprefix("#")
        assert page.evaluate("location.hash") == f"#{target}" and page.locator(f"section#{target} h2").is_visible()
    assert told == []
