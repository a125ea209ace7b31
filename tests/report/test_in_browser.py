"""The page in a real browser: no message, no request, no overflow; it sorts, filters, enlarges pictures and prints."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from medvfm.report import page as report
from tests.report.test_page import HOSTILE
from tests.samples import runs, segmentation_runs

playwright = pytest.importorskip("playwright.sync_api", reason="no playwright: it comes with the dev group")
CHROMIUM = next((found for name in ("chromium", "chromium-browser") if (found := shutil.which(name))), None)
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no chromium: apt-get install chromium")
WIDTHS = (420, 768, 1280)


@pytest.fixture(scope="module")
def browser() -> Iterator[playwright.Browser]:
    with playwright.sync_playwright() as play:
        found = play.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield found
        found.close()


@pytest.fixture(scope="module")
def pages(tmp_path_factory) -> dict[str, Path]:
    """report.html of one run of each kind; every text that a user gives holds markup."""
    folder = tmp_path_factory.mktemp("pages")
    hostile = HOSTILE.replace("\x00\x1b", "")
    runs.write(folder / "scores", n=60, title=hostile)
    runs.write(folder / "targets", n=40, targets=(hostile, "b" * 60), kind="multi_label", metrics=("auroc",))
    segmentation_runs.write(folder / "masks", n=16, baselines={"location": 0.68})
    return {name: report.render(folder / name) for name in ("scores", "targets", "masks")}


@pytest.fixture
def opened(browser, pages):
    """Opens a page, and sees in the end that it said nothing and asked for nothing."""
    said: list[str] = []
    made = []

    def open_page(name: str, width: int = 1280, scheme: str = "light", scripted: bool = True) -> playwright.Page:
        context = browser.new_context(
            viewport={"width": width, "height": 900}, color_scheme=scheme, java_script_enabled=scripted
        )
        made.append(context)
        page = context.new_page()
        page.on("console", lambda message: said.append(message.text))
        page.on("pageerror", lambda error: said.append(str(error)))
        page.on("dialog", lambda dialog: said.append(f"dialog: {dialog.message}"))
        page.on("request", lambda q: None if q.url.startswith(("file:", "data:", "blob:")) else said.append(q.url))
        page.goto(pages[name].as_uri())
        return page

    yield open_page
    for context in made:
        context.close()
    assert said == []


@pytest.mark.parametrize("name", ["scores", "targets", "masks"])
def test_a_page_fits_every_width_and_nothing_in_it_runs_or_is_asked_for(opened, name):
    page = opened(name)
    for width in WIDTHS:
        page.set_viewport_size({"width": width, "height": 900})
        assert page.evaluate("document.documentElement.scrollWidth - window.innerWidth") <= 1, width
    if name != "masks":
        assert "<script>alert(1)</script>" in page.inner_text("body")


def test_a_script_that_got_into_the_page_would_not_run(browser, pages):
    """Even where escaping failed: the policy names the hash of the page's own script."""
    page, said = browser.new_page(), []
    page.on("console", lambda message: said.append(message.text))
    page.goto(pages["scores"].as_uri())
    page.evaluate(
        """() => {
            const script = document.createElement('script');
            script.textContent = 'window.ran = true';
            document.body.append(script);
        }"""
    )
    assert page.evaluate("window.ran") is None
    assert len(said) == 1 and "violates the following Content Security Policy" in said[0]
    page.close()
    assert "unsafe-inline" not in pages["scores"].read_text().split("script-src")[1].split(";")[0]


def test_a_table_sorts_by_a_click_and_by_the_keyboard(opened):
    page = opened("scores")

    def scores() -> list[float]:
        cells = page.locator("#cases tbody td:nth-child(3)")
        return [float(s) for s in cells.evaluate_all("cells => cells.map(cell => cell.dataset.value)")]

    head = page.locator("#cases thead th", has_text="Score")
    head.locator("button").click()
    assert scores() == sorted(scores()) and head.get_attribute("aria-sort") == "ascending"
    head.locator("button").focus()
    page.keyboard.press("Enter")
    assert scores() == sorted(scores(), reverse=True) and head.get_attribute("aria-sort") == "descending"
    page.locator("#cases thead th", has_text="Case").locator("button").click()
    assert head.get_attribute("aria-sort") is None
    assert page.locator("#cases tbody th").first.inner_text() == "case 1"


def test_ready_made_filters_choices_and_words_narrow_a_table(opened):
    page = opened("scores")

    def shown() -> playwright.Locator:
        return page.locator("#cases tbody tr:visible")

    everything = shown().count()
    page.get_by_role("button", name="False negatives").click()
    assert 0 < shown().count() < everything
    assert set(shown().locator("td:nth-child(4)").all_inner_texts()) == {"false negative"}
    page.get_by_role("button", name="Random 6").click()
    assert shown().count() == 6 and "6 of 60 shown" in page.locator("#cases output").inner_text()
    page.locator("#cases").get_by_role("button", name="All").click()
    page.locator("#cases select").first.select_option("lesion")
    assert set(shown().locator("td:nth-child(2)").all_inner_texts()) == {"lesion"}
    page.locator("#cases input[type=search]").fill("case 1 false")
    assert all("false" in row for row in shown().all_inner_texts())


def test_all_results_begin_with_the_model_and_can_be_downloaded(opened):
    page = opened("scores")
    assert page.locator("#numbers tbody tr:visible").count() == len(runs.METRICS)
    page.locator("#numbers").get_by_role("button", name="Subgroups").click()
    assert all("sex" in r or "scanner" in r for r in page.locator("#numbers tbody tr:visible").all_inner_texts())
    with page.expect_download() as found:
        page.get_by_text("Download all numbers").click()
    lines = Path(found.value.path()).read_text().splitlines()
    assert lines[0].startswith("metric,target,split,group,baseline,value,low,high")
    assert len(lines) == 1 + page.locator("#numbers tbody tr").count()


def test_pictures_open_large_and_arrow_keys_go_on(opened):
    page = opened("scores")
    page.locator(".gallery button").first.click()
    dialog = page.locator("dialog.large")
    assert dialog.is_visible()
    first = dialog.locator("img").get_attribute("src")
    page.keyboard.press("ArrowRight")
    assert dialog.locator("img").get_attribute("src") != first
    page.keyboard.press("Escape")
    playwright.expect(dialog).not_to_be_visible()


def test_a_volume_opens_where_it_is_most_wrong_and_is_scrolled(opened):
    page = opened("masks")
    viewer = page.locator(".viewer")
    canvas, slider, told = viewer.locator("canvas"), viewer.get_by_label("Slice", exact=True), viewer.locator("output")
    playwright.expect(told).to_have_text("slice 6 of 8")
    picture = "canvas => canvas.toDataURL()"
    first = canvas.evaluate(picture)
    slider.focus()
    page.keyboard.press("ArrowRight")
    playwright.expect(told).to_have_text("slice 7 of 8")
    assert canvas.evaluate(picture) != first
    page.keyboard.press("ArrowLeft")
    playwright.expect(told).to_have_text("slice 6 of 8")
    assert canvas.evaluate(picture) == first
    viewer.get_by_label("truth").uncheck()
    without = canvas.evaluate(picture)
    assert without != first
    canvas.click()
    page.mouse.wheel(0, -100)
    playwright.expect(told).to_have_text("slice 5 of 8")
    viewer.locator("button").nth(1).click()
    playwright.expect(told).to_have_text("slice 6 of 8")


def test_another_prevalence_is_exploratory_and_the_first_one_comes_back(opened):
    page = opened("scores")
    said, slider = page.locator(".frequencies .said"), page.get_by_label("Prevalence in percent")
    before = said.inner_text()
    slider.focus()
    page.keyboard.press("Home")
    assert said.inner_text().startswith("Exploratory: of 100 patients among whom 1 have lesion")
    kinds = page.locator(".frequencies svg > g").evaluate_all("people => people.map(p => p.getAttribute('class'))")
    assert len(kinds) == 100 and sum(kind in ("tp", "fn") for kind in kinds) == 1
    assert "1%: positive predictive value" in page.locator(".frequencies output").inner_text()
    slider.evaluate("(s) => { s.value = s.getAttribute('value'); s.dispatchEvent(new Event('input')); }")
    assert said.inner_text() == before


def test_one_threshold_moves_table_and_curves_together(opened):
    page = opened("scores")
    explore = page.locator(".explore")
    slider = explore.locator("input")
    fixed = [page.locator("#operating td.right").first.inner_text(), explore.locator("[data-cell=tp]").inner_text()]
    slider.focus()
    page.keyboard.press("Home")
    assert explore.locator("[data-cell=fn]").inner_text().startswith("0") and "exploratory" in explore.inner_text()
    at = page.locator("figure[data-curve=roc] circle.explored").evaluate(
        "c => [+c.getAttribute('cx'), +c.getAttribute('cy')]"
    )
    box = [float(v) for v in page.locator("figure[data-curve=roc] svg").first.get_attribute("data-box").split()]
    assert at == pytest.approx(box[2:])  # the lowest threshold calls all positive: the upper right corner
    assert all(text[0].isdigit() for text in fixed)
    assert page.locator("circle.explored").count() == 3
    # A ring never leaves its axes: at the highest threshold the net benefit may lie below them.
    for svg in page.locator("svg:has(circle.explored)").all():
        west, south, east, north = (float(v) for v in svg.get_attribute("data-frame").split())
        for cut in range(0, int(slider.get_attribute("max")) + 1, 7):
            slider.evaluate("(s, v) => { s.value = v; s.dispatchEvent(new Event('input')); }", cut)
            ring = svg.locator("circle.explored")
            if ring.get_attribute("visibility") == "visible":
                x, y = (float(ring.get_attribute(name)) for name in ("cx", "cy"))
                assert west - 1 <= x <= east + 1 and north - 1 <= y <= south + 1


def test_the_methods_text_can_be_copied(opened):
    page = opened("scores")
    page.get_by_role("button", name="Copy the text").click()
    told = re.compile(r"^(copied|selected: press Ctrl\+C)$")  # the clipboard answers when it likes
    playwright.expect(page.locator("#methods output")).to_have_text(told)


def test_without_scripts_the_page_is_whole_and_shows_no_dead_control(opened):
    page = opened("scores", scripted=False)
    assert page.locator("#cases tbody tr").count() == 60
    for control in page.locator("button, select, input").all():
        assert not control.is_visible()


def test_dark_differs_from_light_and_paper_is_light(opened):
    ground = "getComputedStyle(document.body).backgroundColor"
    page = opened("scores", scheme="dark")
    assert page.evaluate(ground) == "rgb(20, 25, 30)"
    page.emulate_media(media="print")
    assert page.evaluate(ground) == "rgb(255, 255, 255)"
    assert page.locator("#cases tbody tr:visible").count() == 25 and not page.locator(".filters").first.is_visible()
    assert page.pdf(format="A4").startswith(b"%PDF")


def test_the_first_screen_fits_a_sheet_of_paper(opened):
    """Its columns are as wide as on a screen, though a sheet is narrow: text in a column of no width fills pages."""
    page = opened("scores", width=680)
    page.emulate_media(media="print")
    assert page.evaluate("Math.max(...[...document.querySelectorAll('.first > *')].map(e => e.scrollHeight))") < 1200
