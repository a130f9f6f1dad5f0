"""The ways in, in a browser: questions that land on their states, a guided run by the keyboard, on every screen."""

import re
from urllib.parse import parse_qsl

import numpy as np
import pytest

import tinygrad_norm as tn
from tinygrad_norm.graph.explorer import explore_norm, explore_norms

pytestmark = [pytest.mark.browser, pytest.mark.exhaustive]

SCREENS = {"laptop": (1366, 657), "projector": (1280, 720), "phone": (390, 844)}
PAGES = {
    "batch norm": lambda: explore_norm("batch_norm"),
    "layer norm": lambda: explore_norm("layer_norm"),
    "images": lambda: explore_norm("group_norm", shape=(2, 4, 2, 2)),
    "rms norm": lambda: explore_norm("rms_norm"),
    "norms": explore_norms,
    "function": lambda: tn.explore(lambda x: np.tanh(x) * x, np.array([[0.5, -1.0]])),
}
LEADS = (
    "e => [...e.querySelectorAll('h2, .choice, .further, .verdict, .arithmetic')].map(p => p.getBoundingClientRect())"
)


def opened(open_page, name, screen="laptop", **options):
    width, height = SCREENS[screen]
    return open_page(
        PAGES[name]().html, viewport={"width": width, "height": height}, reduced_motion="reduce", **options
    )


def focused(page):
    return page.evaluate("document.activeElement.id || document.activeElement.textContent")


def fits(page):
    """The panel is whole and in view, with the active box; nothing scrolls sideways, or lies over another thing."""
    width, height = page.viewport_size["width"], page.viewport_size["height"]
    assert page.evaluate(
        "document.documentElement.scrollWidth <= innerWidth && document.body.scrollWidth <= innerWidth"
    )
    panel = page.query_selector("#panel")
    assert panel.evaluate("p => p.scrollHeight <= p.clientHeight + 1 && p.scrollWidth <= p.clientWidth + 1")
    around = panel.bounding_box()
    parts = panel.evaluate(LEADS)
    for i, part in enumerate(parts):
        assert part["left"] >= around["x"]
        assert part["right"] <= around["x"] + around["width"] + 1
        assert part["bottom"] <= around["y"] + around["height"] + 1 <= height + 2
        for other in parts[i + 1 :]:
            beside = part["right"] <= other["left"] + 1 or other["right"] <= part["left"] + 1
            assert beside or part["bottom"] <= other["top"] + 1 or other["bottom"] <= part["top"] + 1
    box = page.query_selector('[aria-current="step"]').bounding_box()
    graph = page.query_selector("#graph").bounding_box()
    assert box["x"] >= 0
    assert box["x"] + box["width"] <= width
    assert graph["y"] - 1 <= box["y"]
    assert box["y"] + box["height"] <= graph["y"] + graph["height"] + 1


@pytest.mark.parametrize("screen", SCREENS)
@pytest.mark.parametrize("name", PAGES)
def test_the_guided_run_by_the_keyboard_alone(open_page, name, screen):
    seen = opened(open_page, name, screen)
    page = seen.page
    page.focus("#start")
    page.keyboard.press("Enter")
    run = page.evaluate("data.guide")
    assert 0 < len(run) <= 12
    for at, each in enumerate(run):
        assert f"part=guide&at={at + 1}" in page.evaluate("location.hash")
        assert f"{at + 1} of {len(run)}" in page.text_content("#status")
        fits(page)
        answers = each.get("answers")
        if answers:
            assert page.query_selector(".verdict") is None
            chosen = at % len(answers)
            assert focused(page) == answers[0].replace("`", "")
            for _ in range(chosen):
                page.keyboard.press("Tab")
            page.keyboard.press("Enter")
            verdict = page.text_content(".verdict")
            assert verdict.startswith("Right. " if chosen == each["right"] else "Wrong. ")
            assert verdict in page.text_content("#status")
            assert page.text_content(".choice button:has-text('✓')") == f"✓ {answers[each['right']]}"
            fits(page)
        assert lands_on(page, each["then" if answers else "at"])
        assert focused(page) == "guide-next"
        page.keyboard.press("Enter")
    assert page.evaluate("[state.part, state.scene, state.step]") == ["step", 0, 0]
    assert focused(page) == "next"
    assert seen.errors == seen.messages == []


def lands_on(page, state):
    """Whether the page shows what an address says: scene, step, cell, part, routes, and the numbers of x."""
    want = dict(parse_qsl(state[1:]))
    found = page.evaluate(
        "() => ({ scene: now.scene.key, step: state.step + 1, cell: state.cell.join(','), part: state.part,"
        " without: [...state.without].map((i) => i + 1).join(','),"
        " moved: [...now.values[now.stage.boxes[now.stage.x].v]], x: [...now.before[now.stage.boxes[now.stage.x].v]],"
        " ids: now.scene.shares?.ids, shape: now.stage.boxes[now.stage.x].shape })"
    )
    assert (found["scene"], str(found["step"]), found["cell"]) == (want["scene"], want["step"], want["cell"])
    assert found["part"] in (want.get("part", "step"), "guide")
    assert found["without"] == want.get("without", "")
    x, shape = np.array(found["x"]), found["shape"]
    change = np.zeros_like(x)
    if "add" in want or "times" in want:
        index = tuple(int(i) for i in want["cell"].split(","))
        cell = np.ravel_multi_index(index, shape)
        axis = np.indices(shape)[1].ravel()
        ids = np.array(found["ids"])
        cells = {"cell": np.arange(x.size) == cell, "unit": ids == ids[cell]}.get(want.get("to"), axis == index[1])
        change[cells] = ((x + float(want.get("add", 0))) * float(want.get("times", 1)) - x)[cells]
    return np.allclose(np.array(found["moved"]) - x, change)


@pytest.mark.parametrize("screen", ["laptop", "phone"])
@pytest.mark.parametrize("name", [name for name in PAGES if name != "function"])
def test_every_question_is_answered_within_two_clicks(open_page, name, screen):
    seen = opened(open_page, name, screen)
    page = seen.page
    questions = page.evaluate("data.questions")
    page.evaluate("changeColumn((v) => v + 1)")  # what a visitor changed does not mix with what is shown
    assert len(questions) >= 12
    for i, question in enumerate(questions):
        page.click("#questions")
        item = page.query_selector_all("#asked li")[i]
        assert item.query_selector("h3").text_content() == question["ask"].replace("`", "")
        assert item.query_selector("p").text_content() == question["answer"].replace("`", "")
        item.query_selector("button").click()
        assert page.query_selector("dialog[open]") is None
        assert lands_on(page, question["show"]), question["ask"]
    assert seen.errors == seen.messages == []


@pytest.mark.parametrize("screen", SCREENS)
def test_the_list_can_be_read_and_closed(open_page, screen):
    page = opened(open_page, "batch norm", screen).page
    page.focus("#questions")
    page.keyboard.press("Enter")
    dialog = page.query_selector("dialog[open]")
    assert dialog.evaluate("d => d.scrollWidth <= d.clientWidth")
    if screen != "phone":
        assert dialog.evaluate("d => d.scrollHeight <= d.clientHeight + 1")
        columns = dialog.evaluate(
            "d => new Set([...d.querySelectorAll('li')].map(l => l.getBoundingClientRect().left)).size"
        )
        assert columns == 2
    step = page.evaluate("state.step")
    page.keyboard.press("ArrowRight")  # the page behind it stands still
    assert page.evaluate("state.step") == step
    page.keyboard.press("Escape")
    assert page.query_selector("dialog[open]") is None
    assert focused(page) == "questions"
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    assert page.query_selector("dialog[open]") is None
    assert page.evaluate("now.scene.key") == "train"
    assert "part=routes" in page.evaluate("location.hash")


def test_a_link_comes_back_to_a_place_in_the_run(open_page):
    """By a reload, too: what was asked, chosen, and changed."""
    page = opened(open_page, "batch norm").page
    page.click("#start")
    for _ in range(3):
        page.click("#guide-next")
    page.click("#panel .choice button")
    before = page.evaluate("[location.hash, panel.textContent, [...now.values[now.stage.boxes[now.stage.x].v]]]")
    assert "chose=1" in before[0]
    page.reload()
    assert (
        page.evaluate("[location.hash, panel.textContent, [...now.values[now.stage.boxes[now.stage.x].v]]]") == before
    )
    for bad in ("at=99&chose=99", "at=-1&chose=x", "at=", "at=3&chose=0"):
        page.evaluate("(bad) => { location.hash = `#part=guide&${bad}`; }", bad)
        page.wait_for_function("panel.textContent.includes('of 12')")


@pytest.mark.parametrize("how", ["Next", "menu", "Step", "arrow"])
def test_next_leaves_the_run(open_page, how):
    page = opened(open_page, "batch norm").page
    page.click("#start")
    if how == "menu":
        page.select_option("#scene", "1")
    elif how == "arrow":
        page.keyboard.press("ArrowRight")
    else:
        page.click("#next" if how == "Next" else '[data-part="step"]')
    assert page.is_visible("#step")
    assert not re.search("guide|at=", page.evaluate("location.hash"))


def test_the_first_screen_says_what_it_is(open_page):
    for screen in SCREENS:
        for name in PAGES:
            page = opened(open_page, name, screen).page
            assert page.is_visible("#lead")
            assert page.evaluate("lead.scrollHeight <= lead.clientHeight + 1 && lead.scrollWidth <= lead.clientWidth")
            for button in ("#start", "#next", "#previous") + (("#questions",) if name != "function" else ()):
                box = page.query_selector(button).bounding_box()
                assert box["x"] >= 0
                assert box["x"] + box["width"] <= SCREENS[screen][0]
                assert page.evaluate(
                    "(b) => document.querySelector(b).scrollWidth <= document.querySelector(b).clientWidth", button
                )


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("screen", ["laptop", "phone"])
def test_axe_finds_no_violation(open_page, dark, screen):
    axe = pytest.importorskip("axe_core_python.sync_playwright", reason="needs axe-core: the browser extra")
    page = opened(open_page, "batch norm", screen, color_scheme="dark" if dark else "light").page

    def clean():
        found = axe.Axe().run(page)
        assert [(v["id"], v["nodes"][0]["html"][:200]) for v in found["violations"]] == []

    page.click("#questions")
    clean()
    page.keyboard.press("Escape")
    page.click("#start")
    clean()
    for answer in (0, 1):
        page.query_selector_all("#panel .choice button")[answer].click()
        clean()
