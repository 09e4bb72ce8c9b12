"""The page in Debian's Chromium: tables that sort and filter, a chart to read, hostile text as text."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from bitnet_sweep.report import make_report, write_report

playwright = pytest.importorskip("playwright.sync_api", reason="needs the extra browser")
pytestmark = pytest.mark.system

CHROMIUM = Path("/usr/bin/chromium")
HOSTILE = "</script><script>window.hit = 1</script><img src=x onerror='window.hit = 1'>"
STEPS = (1, 50, 60, 100)


def write_store(root: Path) -> None:
    """Two arms of a trunk at two sizes, and a run whose id, settings and texts are hostile."""
    for number, (hidden, wd2, end) in enumerate(
        [(64, 0.0, 4.0), (64, 0.05, 7.0), (128, 0.0, 3.0), (128, 0.05, 8.5)]
    ):
        write_run(root, f"run{number}", f"trunk{hidden}", hidden, wd2, end, "small")
    write_run(root, HOSTILE.replace("/", ""), "odd", 64, 0.0, 5.0, HOSTILE)  # no file name holds a slash


def write_run(root: Path, run_id: str, trunk: str, hidden: int, wd2: float, end: float, scale: str) -> None:
    folder = root / "runs" / run_id
    folder.mkdir(parents=True)
    config = {"scale": scale, "lr": 0.001, "wd1": 0.1, "wd2": wd2, "seed": 0, "steps": 100, "boundary": 0.5}
    config |= {"model": {"hidden": hidden, "weights": "ternary"}, "optimizer": {"name": "adam_l2"}}
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    status = {"schema": 1, "run_id": run_id, "state": "finished", "stage_ids": [trunk, run_id]}
    (folder / "status.json").write_text(json.dumps(status | {"provenance": {"command": [HOSTILE]}}))
    records = [
        {
            "step": step,
            "val/loss": end if step == 100 else 8.0,
            "ref/unigram_loss": 6.0,
            "probe/unique_tokens": 7,
        }
        for step in STEPS
    ]
    (folder / "records.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
    samples = [{"step": step, "prompt": HOSTILE, "continuation": HOSTILE} for step in (50, 100)]
    (folder / "samples.jsonl").write_text("".join(json.dumps(sample) + "\n" for sample in samples))


@pytest.fixture(scope="module")
def html(tmp_path_factory):
    store, out = tmp_path_factory.mktemp("store"), tmp_path_factory.mktemp("report")
    write_store(store)
    write_report(make_report([store]), out)
    return out / "report.html"


@pytest.fixture(scope="module")
def browser():
    with playwright.sync_playwright() as driver:
        found = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield found
        found.close()


@pytest.fixture
def page(browser, html):
    """The open page; whatever its console says, and any request but for the file itself, fails the test."""
    opened = browser.new_page(viewport={"width": 1280, "height": 900})
    said: list[str] = []
    asked: list[str] = []
    opened.on("console", lambda message: said.append(message.text))
    opened.on("pageerror", lambda error: said.append(str(error)))
    opened.on("request", lambda request: asked.append(request.url))
    opened.goto(html.as_uri())
    yield opened
    assert said == []
    assert [url for url in asked if not url.startswith("data:")] == [html.as_uri()]
    opened.close()


def test_hostile_names_and_texts_are_text(page) -> None:
    assert page.evaluate("window.hit") is None
    assert page.locator("img").count() == 0
    assert page.locator("script").count() == 2
    assert f"scale={HOSTILE}" in page.locator("#results h3").all_inner_texts()
    page.locator("#samples summary").last.click()
    assert HOSTILE in page.locator("#samples td").all_inner_texts()
    assert HOSTILE in page.locator("#provenance td").all_inner_texts()


def sound_table(page):
    """The held-out losses of the section with four rows."""
    tables = page.locator("#results table.data")
    found = [tables.nth(i) for i in range(tables.count()) if tables.nth(i).locator("tbody tr").count() == 4]
    return found[1]


def test_a_table_sorts_by_number_both_ways_and_back(page) -> None:
    table = sound_table(page)
    cells = table.locator("tbody tr td:nth-last-child(2)")
    button = table.locator("thead th").nth(-2).locator("button")
    head = table.locator("thead th").nth(-2)
    as_made = cells.all_inner_texts()
    assert as_made == ["4.00", "7.00", "3.00", "8.50"]
    button.click()
    assert cells.all_inner_texts() == ["3.00", "4.00", "7.00", "8.50"]
    assert head.get_attribute("aria-sort") == "ascending"
    button.press("Enter")
    assert cells.all_inner_texts() == ["8.50", "7.00", "4.00", "3.00"]
    assert head.get_attribute("aria-sort") == "descending"
    button.press("Enter")
    assert cells.all_inner_texts() == as_made
    assert head.get_attribute("aria-sort") is None


def test_a_filter_keeps_the_rows_with_all_its_words(page) -> None:
    table = sound_table(page)
    box = table.locator("xpath=../preceding-sibling::label[1]").locator("input")
    box.fill("128 0.05")
    assert table.locator("tbody tr:visible").count() == 1
    assert table.locator("tbody tr:visible td").first.inner_text() == "128"
    assert page.get_by_text("1 of 4 rows").count() == 1
    first = [cell.strip() for cell in table.locator("tbody tr").first.locator("td").all_text_contents()]
    box.fill(first[0] + first[1])
    assert table.locator("tbody tr:visible").count() == 0, "a word never goes across cells"
    box.fill("")
    assert table.locator("tbody tr:visible").count() == 4


def test_a_phone_shows_all_of_the_page_and_tells_values(browser, html) -> None:
    with browser.new_context(viewport={"width": 360, "height": 740}, has_touch=True) as phone:
        opened = phone.new_page()
        opened.goto(html.as_uri())
        assert opened.evaluate("document.documentElement.scrollWidth") <= 360, (
            "wide things scroll by themselves"
        )
        choose_sound_panel(opened)
        opened.locator(".stage svg").scroll_into_view_if_needed()
        trunk = opened.locator(".stage path.trunk").bounding_box()
        opened.touchscreen.tap(trunk["x"], trunk["y"] + trunk["height"] / 2)
        assert "trunk of 2 arms, seed 0" in opened.locator(".tip b").inner_text()


def choose_sound_panel(page) -> None:
    options = page.locator(".controls select").nth(1).locator("option").all_inner_texts()
    page.locator(".controls select").nth(1).select_option(
        label=next(o for o in options if "scale=small" in o)
    )


def test_the_chart_tells_values_and_toggles_arms(page) -> None:
    choose_sound_panel(page)
    lines = page.locator(".stage path.line")
    assert lines.count() == 3, "a trunk and its two arms"
    box = page.locator(".legend input").first
    box.focus()
    page.keyboard.press("Space")
    assert not box.is_checked()
    assert lines.count() == 2
    assert page.locator(".stage path.trunk").count() == 1, "still the other arm's"
    page.get_by_role("button", name="none").click()
    assert lines.count() == 0
    page.get_by_role("button", name="all").click()
    assert lines.count() == 3
    stage = page.locator(".stage svg").bounding_box()
    end = page.locator(".stage path.s0").bounding_box()
    page.mouse.move(end["x"] + end["width"], end["y"] + end["height"])
    assert page.locator(".tip b").inner_text() == "wd2=0.0, seed 0: 4 at step 100"
    assert page.locator(".tip span").inner_text() == "run0"
    page.mouse.move(stage["x"] + stage["width"] - 2, stage["y"] + 2)
    assert not page.locator(".tip").is_visible()


def test_the_chart_is_read_with_the_keyboard(page) -> None:
    choose_sound_panel(page)
    page.locator(".stage svg").focus()
    page.keyboard.press("ArrowRight")
    assert page.locator(".spoken").inner_text() == "trunk of 2 arms, seed 0: 8 at step 1"
    page.keyboard.press("ArrowRight")
    assert page.locator(".spoken").inner_text() == "trunk of 2 arms, seed 0: 8 at step 50"
    page.keyboard.press("ArrowUp")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowRight")
    assert page.locator(".spoken").inner_text() == "wd2=0.0, seed 0: 4 at step 100"
    page.keyboard.press("Escape")
    assert not page.locator(".tip").is_visible()
    page.locator(".controls select").first.select_option(label="unique tokens (of 20)")
    page.locator(".stage svg").focus()
    page.keyboard.press("ArrowRight")
    assert page.locator(".spoken").inner_text() == "trunk of 2 arms, seed 0: 7 at step 1"


def test_a_row_leads_to_its_run(page) -> None:
    sound_table(page).get_by_role("link", name="run2").click()
    target = page.locator(".run:target")
    assert target.locator("h3").inner_text().startswith("run2: ")
    assert target.is_visible()
    assert page.locator(".run:visible").count() == 1
    assert target.locator("svg").count() == 2, "loss and unique tokens"
    target.get_by_role("link", name="Close").click()
    assert page.locator(".run:visible").count() == 0


def test_the_panel_of_a_run_needs_no_script_and_shows_hostile_text_as_text(browser, html) -> None:
    context = browser.new_context(java_script_enabled=False)
    opened = context.new_page()
    opened.goto(html.as_uri())
    opened.locator("#provenance").get_by_role("link", name=HOSTILE.replace("/", "")).click()
    panel = opened.locator(".run:target")
    assert panel.is_visible()
    assert HOSTILE.replace("/", "") in panel.locator("h3").inner_text()
    assert HOSTILE in panel.locator("p.wrap").first.inner_text()
    assert f"scale={HOSTILE}" in panel.locator("p.mono").inner_text()
    assert panel.locator("img, script").count() == 0
    context.close()


@pytest.mark.parametrize(("width", "medium"), [(390, "screen"), (718, "print")], ids=["phone", "paper"])
@pytest.mark.parametrize("anchor", ["", "#run-0"], ids=["page", "panel"])
def test_nothing_is_cut_off(page, width: int, medium: str, anchor: str) -> None:
    """At 390 pixels only tables and pictures scroll; paper, 19 cm wide, cannot scroll."""
    page.set_viewport_size({"width": width, "height": 900})
    page.emulate_media(media=medium)
    page.evaluate(f"location.hash = '{anchor}'")
    assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_paper_is_white_for_a_reader_in_the_dark_too(page) -> None:
    page.emulate_media(media="print", color_scheme="dark")
    colour = "node => getComputedStyle(node).backgroundColor.match(/[0-9]+/g).map(Number)"
    for place in ("body", ".notice", ".tiles td.k-stuck"):
        assert min(page.locator(place).first.evaluate(colour)[:3]) > 200, place


@pytest.mark.parametrize(("scheme", "paper"), [("light", "rgb(255, 255, 255)"), ("dark", "rgb(20, 24, 30)")])
def test_paper_and_ink_follow_the_reader(page, scheme: str, paper: str) -> None:
    page.emulate_media(color_scheme=scheme)
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == paper
    figure = page.locator("figure svg text").first
    ink = page.evaluate("getComputedStyle(document.body).color")
    assert figure.evaluate("node => getComputedStyle(node).fill") == ink


def test_it_prints_with_figures_and_without_controls(page) -> None:
    page.emulate_media(media="print")
    assert not page.locator("#chart").is_visible()
    assert not page.locator(".filter").first.is_visible()
    assert page.locator("figure svg").first.is_visible()
    assert page.pdf()[:5] == b"%PDF-"
