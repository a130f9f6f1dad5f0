"""Numbers that travel along the edges: which, where, for how long, and never in the way."""

import datetime

import numpy as np
import pytest

import tinygrad_norm as tn
from tinygrad_norm.graph.explorer import explore_norm

pytestmark = [pytest.mark.browser, pytest.mark.exhaustive]

BADGES = """() => [...document.querySelectorAll(".load")].map(badge => {
  const { left, right, top, bottom } = badge.getBoundingClientRect();
  return [badge.textContent, (left + right) / 2, (top + bottom) / 2];
})"""
MIDDLE = """([box, which]) => {
  const cell = document.querySelectorAll(`[data-box="${box}"] .matrix`)[which].querySelector(".chosen");
  const { left, right, top, bottom } = cell.getBoundingClientRect();
  return [(left + right) / 2, (top + bottom) / 2];
}"""


@pytest.fixture
def still_page(open_page):
    """A page of batch norm at a step before another one, whose clock the test turns."""

    def opened(condition="s.box === 6", **options):
        page = open_page(explore_norm("batch_norm").html, viewport={"width": 1366, "height": 657}, **options).page
        page.clock.install()
        page.reload()
        page.clock.pause_at(datetime.datetime.now() + datetime.timedelta(hours=1))
        page.evaluate(f"go(now.steps.findIndex(s => {condition}) - 1)")
        page.clock.run_for(1000)
        return page

    return opened


def far(a, b):
    return float(np.hypot(a[0] - b[0], a[1] - b[1]))


def test_forward_each_operand_travels_from_its_box_to_the_active_one(still_page):
    page = still_page()
    page.evaluate("pick([1, 2])")
    page.click("#next")
    page.clock.run_for(40)
    start = page.evaluate(BADGES)
    # x̂ = (x−μ) · r
    names = page.evaluate("now.stage.boxes.map(box => box.name)")
    operands = [names.index("x−μ"), names.index("r")]
    values = page.evaluate(
        "boxes => boxes.map(i => shown(now.values[now.stage.boxes[i].v][chosenIn(now.stage.boxes[i])]))", operands
    )
    places = {text: where for text, *where in start}
    assert sorted(places) == sorted(values)
    for box, value in zip(operands, values, strict=True):
        assert far(page.evaluate(MIDDLE, [box, 0]), places[value]) < 25
    ends = page.evaluate(MIDDLE, [6, 0])
    page.clock.run_for(400)
    assert all(far(ends, where) < 40 for _, *where in page.evaluate(BADGES))
    page.clock.run_for(120)
    assert page.evaluate(BADGES) == []
    assert page.get_attribute('[aria-current="step"]', "data-box") == "6"


def test_on_its_way_it_is_on_the_curve(still_page):
    page = still_page()
    page.click("#next")
    page.clock.run_for(16)
    seen = []
    for _ in range(30):
        page.clock.run_for(16)
        seen += page.evaluate(
            """() => {
              const scale = get("boxes").getBoundingClientRect().width / get("boxes").offsetWidth;
              const inside = (x, y) => shownBoxes.some(({ element }) => { const r = element.getBoundingClientRect();
                return x >= r.left - 2 && x <= r.right + 2 && y >= r.top - 2 && y <= r.bottom + 2; });
              const flowing = shownCurves.filter(curve => curve.classList.contains("flow"));
              return [...document.querySelectorAll(".load")].map(badge => {
                const r = badge.getBoundingClientRect(), x = (r.left + r.right) / 2, y = (r.top + r.bottom) / 2;
                const least = Math.min(...flowing.map(curve => { let near = Infinity;
                  for (let at = 0; at <= curve.getTotalLength(); at++) {
                    const point = curve.getPointAtLength(at).matrixTransform(curve.getScreenCTM());
                    near = Math.min(near, Math.hypot(point.x - x, point.y - y)); }
                  return near; }));
                return [least / scale, inside(x, y)];
              });
            }"""
        )
    on_curves = [distance for distance, is_inside in seen if not is_inside]
    assert len(on_curves) >= 8
    assert max(on_curves) < 2


def test_backward_the_contribution_travels_against_the_arrow(still_page):
    page = still_page("s.link !== undefined && now.stage.boxes[s.box].name === 'γ'")
    page.evaluate("pick([1, 2])")
    page.click("#next")
    link = page.evaluate("now.stage.links[now.steps[state.step].link]")
    page.clock.run_for(40)
    ((text, *start),) = page.evaluate(BADGES)
    assert text in page.text_content("#step .part")
    assert far(page.evaluate(MIDDLE, [link["t"], 1]), start) < 25
    red, _, blue = channels(page.eval_on_selector(".load", "b => getComputedStyle(b).backgroundColor"))
    assert red > blue
    page.clock.run_for(430)
    ((_, *end),) = page.evaluate(BADGES)
    assert far(page.evaluate(MIDDLE, [link["s"], 1]), end) < 25


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_is_for_the_eye_only(scheme, still_page):
    page = still_page(color_scheme=scheme)
    for button in ("#next", "#previous"):
        page.click(button)
        page.clock.run_for(200)
        badge = page.locator(".load").first
        assert badge.get_attribute("aria-hidden") == "true"
        pointer, *colours = badge.evaluate(
            "b => { const s = getComputedStyle(b); return [s.pointerEvents, s.color, s.backgroundColor]; }"
        )
        assert pointer == "none"
        assert contrast(*colours) > 4.5
        red, _, blue = channels(colours[1])
        assert blue > red  # forward


def channels(colour):
    return [int(c) / 255 for c in colour[4:-1].split(",")]


def contrast(*colours):
    def light(colour):
        shares = channels(colour)
        shares = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in shares]
        return np.dot([0.2126, 0.7152, 0.0722], shares)

    low, high = sorted(map(light, colours))
    return (high + 0.05) / (low + 0.05)


def test_the_state_is_there_at_once_and_the_next_step_ends_the_motion(still_page):
    page = still_page()
    page.click("#next")
    assert page.text_content("#step h2").startswith("Forward x̂")
    page.clock.run_for(100)
    first = {text for text, *_ in page.evaluate(BADGES)}
    for _ in range(3):
        page.click("#next")
        page.clock.run_for(20)
    assert page.text_content("#step h2").startswith("Backward starts")
    assert first
    assert page.evaluate(BADGES) == []  # nothing is carried to where the gradient is given
    page.click("#previous")
    page.clock.run_for(100)
    assert len(page.evaluate(BADGES)) == 2
    page.evaluate("pick([0, 0])")
    assert page.evaluate(BADGES) == []
    page.clock.run_for(600)
    assert page.evaluate(BADGES) == []


def test_only_a_step_to_its_neighbour_moves_anything(still_page):
    page = still_page()
    for key in ("End", "Home"):
        page.keyboard.press(key)
        page.clock.run_for(100)
        assert page.evaluate(BADGES) == []
    page.keyboard.press("ArrowRight")
    page.clock.run_for(100)
    assert len(page.evaluate(BADGES)) == 1


def test_nothing_moves_where_motion_is_reduced(still_page):
    page = still_page(reduced_motion="reduce")
    page.click("#next")
    for _ in range(10):
        page.clock.run_for(30)
        assert page.evaluate(BADGES) == []


@pytest.mark.parametrize("viewport", [(1366, 657), (390, 844)])
def test_it_stays_in_the_graph_at_every_step(viewport, open_page):
    """No error, and nothing outside, also for graphs that follow the active box and what cannot be computed again."""
    a = np.linspace(-1, 1, 12).reshape(3, 4)
    for html in (
        explore_norm("group_norm", shape=(2, 4, 2, 2)).html,
        tn.explore(lambda q, k: tn.ops.softmax(q @ k.T) @ k, a, a + 1).html,
        tn.explore(lambda x, w: tn.layer_norm(x @ w, 128), *np.ones((2, 128, 128))).html,
    ):
        seen = open_page(html, viewport={"width": viewport[0], "height": viewport[1]})
        page = seen.page
        count = page.evaluate("now.steps.length")
        moved = 0
        for _ in range(count - 1):
            page.click("#next")
            page.wait_for_timeout(60)
            moved += len(page.evaluate(BADGES))
            assert page.evaluate("document.documentElement.scrollWidth <= innerWidth && scrollY === 0")
        assert moved > count / 2
        assert seen.errors == seen.messages == []
