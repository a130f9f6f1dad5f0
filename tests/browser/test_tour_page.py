"""The tour's page in a browser: whole pictures at every width, nothing sideways, and dark for who wants it dark."""

import re
from itertools import pairwise
from types import SimpleNamespace

import pytest

from tests.short_tour import short_tour

pytestmark = [pytest.mark.browser, pytest.mark.exhaustive]

SIDEWAYS = """() => [document.documentElement, ...document.querySelectorAll('body *')]
  .filter(e => !(e instanceof SVGElement) && e.clientWidth > 1 && e.scrollWidth > e.clientWidth + 1)
  .map(e => `${e.tagName} ${e.className} ${e.scrollWidth} > ${e.clientWidth}`)"""
PICTURES = """() => [...document.images].map(i => { const r = i.getBoundingClientRect(); return {
  source: i.currentSrc, left: r.left, right: r.right, width: r.width, height: r.height,
  natural: [i.naturalWidth, i.naturalHeight], room: window.innerWidth }; })"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    out = tmp_path_factory.mktemp("tour")
    short_tour(out)
    return out


@pytest.fixture
def opened(browser, folder):
    contexts = []

    def opened(width, scheme="light"):
        context = browser.new_context(offline=True, viewport={"width": width, "height": 700}, color_scheme=scheme)
        contexts.append(context)
        page = context.new_page()
        seen = SimpleNamespace(page=page, requests=[], complaints=[])
        page.on("request", lambda request: seen.requests.append(request.url))
        page.on("console", lambda message: seen.complaints.append(message.text))
        page.on("pageerror", lambda error: seen.complaints.append(str(error)))
        page.on("requestfailed", lambda request: seen.complaints.append(request.url))
        page.goto((folder / "index.html").as_uri())
        return seen

    yield opened
    for context in contexts:
        context.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1366, 1280, 1000, 720, 390, 320])
def test_pictures_are_whole_and_nothing_scrolls_sideways(opened, folder, width, scheme):
    seen = opened(width, scheme)
    page = seen.page
    page.eval_on_selector_all("details", "all => all.forEach(d => { d.open = true; })")
    assert page.evaluate(SIDEWAYS) == []
    pictures = page.evaluate(PICTURES)
    assert len(pictures) >= 3
    for picture in pictures:
        assert min(picture["natural"]) > 0
        assert 0 <= picture["left"] < picture["right"] <= picture["room"]
        # Nothing is cut off or squeezed.
        assert abs(picture["width"] / picture["height"] / (picture["natural"][0] / picture["natural"][1]) - 1) < 0.01
        name = picture["source"].rpartition("/")[2]
        assert ("-narrow" in name) == (width <= 700)
        assert ("-dark" in name) == (scheme == "dark")
    assert seen.complaints == []
    assert all(url.startswith(folder.as_uri()) for url in seen.requests)
    background = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (sum(map(int, re.findall(r"\d+", background)[:3])) < 200) == (scheme == "dark")


@pytest.mark.parametrize(("width", "least"), [(1366, 10), (1280, 10), (390, 9.5)])
def test_names_in_graphs_can_be_read(opened, folder, width, least):
    for picture in opened(width).page.evaluate(PICTURES):
        if picture["source"].endswith(".svg"):
            svg = (folder / picture["source"].removeprefix(folder.as_uri() + "/")).read_text(encoding="utf-8")
            box = float(re.search(r'viewBox="[-\d.]+ [-\d.]+ ([\d.]+)', svg)[1])
            scale = re.search(r'transform="scale\(([\d.]+)', svg)
            sizes = [float(size) for size in re.findall(r'font-size="([\d.]+)', svg)]
            text = min(sizes) * (float(scale[1]) if scale else 1) * picture["width"] / box
            assert text >= least, (picture["source"], text)


def test_the_interactive_pages_are_on_the_first_screen_and_open_by_keyboard(opened):
    for number, name in enumerate(("bn.html", "norms.html"), 1):
        page = opened(1366).page
        box = page.locator(f"nav.pages a[href='{name}']").bounding_box()
        assert box["y"] + box["height"] < 657
        assert box["width"] * box["height"] > 50_000
        for _ in range(number):
            page.keyboard.press("Tab")
        page.keyboard.press("Enter")
        page.wait_for_url(f"**/{name}")


def test_the_contents_lead_to_the_sections(opened):
    page = opened(1280).page
    levels = page.eval_on_selector_all("h1, h2, h3", "all => all.map(h => Number(h.tagName[1]))")
    assert levels[0] == 1
    assert all(after <= before + 1 for before, after in pairwise(levels))
    links = page.locator(".contents a")
    assert links.count() == page.locator("section").count() == 8
    for i in range(8):
        links.nth(i).click()
        title = page.locator("section").nth(i).locator("h2")
        assert title.inner_text() == links.nth(i).inner_text()
        assert title.bounding_box()["y"] < 700 or i == 7


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_one_number_in_each_section_is_large(opened, scheme):
    page = opened(1280, scheme).page
    sizes = page.eval_on_selector_all(
        "section",
        "all => all.map(s => [...s.querySelectorAll('*')].filter(e => parseFloat(getComputedStyle(e).fontSize) > 32)"
        ".map(e => e.textContent))",
    )
    assert [len(large) for large in sizes] == [1] * 8
    assert all(re.search(r"\d", large[0]) for large in sizes)


@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (1280, "dark"), (390, "light")])
def test_axe_finds_no_violation(opened, width, scheme):
    axe = pytest.importorskip("axe_core_python.sync_playwright", reason="needs axe-core: the browser extra")
    page = opened(width, scheme).page
    page.eval_on_selector_all("details", "all => all.forEach(d => { d.open = true; })")
    # Injected scripts are what the page's own policy forbids, so axe runs in a copy without it.
    page.set_content(re.sub(r"<meta http-equiv[^>]*>", "", page.content()))
    found = axe.Axe().run(page)
    assert [(v["id"], v["nodes"][0]["html"][:200]) for v in found["violations"]] == []
