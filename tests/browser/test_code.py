"""The code beside a step, in a browser: what is lit, where a click leads, and that source stays text."""

import importlib.util

import numpy as np
import pytest

import tinygrad_norm as tn
from tinygrad_norm.graph.explorer import explore_norm

pytestmark = [pytest.mark.browser, pytest.mark.exhaustive]

X = np.random.default_rng(0).normal(size=(4, 3)).round(2)
LIT = """() => [...document.querySelectorAll('#panel [aria-current="true"] .text')].map((e) => e.textContent.trim())"""
MARKED = """() => [...document.querySelectorAll("#panel mark")].map((part) => part.textContent)"""
INSIDE = """() => {
  const room = document.querySelector("#panel .code").getBoundingClientRect();
  return [...document.querySelectorAll("#panel mark")].slice(0, 1).every((part) => {
    const { top, bottom } = part.getClientRects()[0];
    return top >= room.top - 1 && bottom <= room.bottom + 1;
  }) && scrollY === 0;
}"""
CENTRED = 'centred = named("x−μ", values - mean)'
VARIANCE = 'var = named("σ²", ops.mean(ops.square(centred), axes, keepdims=True))'


@pytest.fixture
def opened(open_page):
    """A page whose code stands beside the step, if it has any."""

    def opened(page, **options):
        seen = open_page(page.html, reduced_motion="reduce", **options)
        if seen.page.is_visible("[data-part=code]"):
            seen.page.click("[data-part=code]")
        return seen

    return opened


def own(x, weight):
    deviations = x - x.mean(0)
    variance = (deviations**2).mean(0)
    return deviations / np.sqrt(variance + 1e-5) * weight


def lit_at_each_step(page):
    found = []
    for step in range(page.evaluate("now.steps.length")):
        page.evaluate(f"go({step})")
        found.append((page.text_content("#panel h2"), page.evaluate(LIT), page.evaluate(MARKED)))
        assert page.evaluate(INSIDE), found[-1]
    return found


def test_the_line_of_every_step_of_batch_norm_is_lit_and_in_view(opened):
    seen = opened(explore_norm("batch_norm"))
    found = lit_at_each_step(seen.page)
    assert found[0][1:] == ([], [])
    by_head = {head: (lit, marked) for head, lit, marked in found}
    assert by_head["Forward x−μ = x − μ"] == ([CENTRED], ["values - mean"])
    assert by_head["Forward (x−μ)²"] == ([VARIANCE], ["ops.square(centred)"])
    # Backward, the line is that of the operation through which the gradient goes.
    for head, (lit, marked) in by_head.items():
        if head.startswith("Backward from x−μ to "):
            assert (lit, marked) == ([CENTRED], ["values - mean"])
        if head.startswith("Backward from σ² to "):
            assert lit == [VARIANCE]
    assert all(len(lit) == 1 for _, lit, _ in found[1:])
    assert seen.errors == seen.messages == []


def test_a_users_function_has_its_lines_in_blue_and_then_in_red(opened):
    page = opened(tn.explore(own, X, X[0])).page
    found = lit_at_each_step(page)
    assert found[1][1:] == (["deviations = x - x.mean(0)"], ["x.mean(0)"])
    assert found[-1][1] == ["deviations = x - x.mean(0)"]
    colour = "getComputedStyle(document.querySelector('#panel [aria-current]')).borderLeftColor"
    assert page.evaluate(colour) == "rgb(168, 50, 27)"
    page.evaluate("go(1)")
    assert page.evaluate(colour) == "rgb(26, 82, 154)"


def test_clicks_on_a_line_go_through_its_steps_and_round(opened):
    page = opened(tn.explore(own, X, X[0])).page
    line = page.locator("#panel [data-line]", has_text="deviations = x - x.mean(0)")
    assert line.get_attribute("title").startswith("Steps 2, 3, ")
    steps = []
    for _ in range(7):
        line.click()
        steps.append(page.evaluate("state.step"))
        assert line.get_attribute("aria-current") == "true"
    own_steps = sorted(set(steps))
    assert steps == (own_steps * 3)[:7]
    assert [page.evaluate(f"now.steps[{step}].kind") for step in own_steps] == ["forward"] * 2 + ["backward"] * 3
    # Every step that has a line is reached from it.
    assert page.evaluate("stepsByLine().flat().length") == page.evaluate("now.steps.length") - 1


def test_lines_are_reached_and_opened_by_keyboard_and_keep_the_focus(opened):
    page = opened(tn.explore(own, X, X[0])).page
    page.evaluate("document.querySelector('#panel [data-line]').focus()")
    page.keyboard.press("Tab")
    focused = "document.activeElement.textContent"
    second = page.evaluate(focused)
    assert "variance = " in second
    page.keyboard.press("Enter")
    first = page.evaluate("state.step")
    page.keyboard.press(" ")
    assert page.evaluate("state.step") == first + 1
    page.keyboard.press("ArrowLeft")
    assert page.evaluate("state.step") == first
    assert page.evaluate(focused) == second


HOSTILE = """def f(x):
    note = "</script><script>alert(1)</script><img src=x onerror=alert(2)>&lt;\u2028"
    \U0001d6fe = '🙂<b>&'; y = x * len('🙂'); note = "</b>" * 3
    return y + 1
"""


def test_hostile_source_stays_text(opened, tmp_path):
    path = tmp_path / "hostile.py"
    path.write_text(HOSTILE, encoding="utf-8")
    spec = importlib.util.spec_from_file_location("hostile", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    seen = opened(tn.explore(module.f, X))
    seen.page.evaluate("go(1)")
    texts = seen.page.eval_on_selector_all("#panel .text", "all => all.map((each) => each.textContent)")
    assert "\n".join(texts) + "\n" == HOSTILE
    assert seen.page.evaluate(MARKED) == ["x * len('🙂')"]
    assert seen.page.query_selector("#panel img, #panel .code b, #panel script") is None
    assert seen.errors == seen.messages == []
    assert len(seen.requests) == 1


def test_without_source_there_is_no_code(opened):
    page = opened(tn.explore(np.tanh, X)).page
    assert page.evaluate("hasCode()") is False
    assert page.query_selector("#panel .code") is None


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("width", [390, 1366], ids=["phone", "desktop"])
def test_axe_finds_no_violation_in_the_code_and_nothing_scrolls_sideways(open_page, dark, width):
    axe = pytest.importorskip("axe_core_python.sync_playwright", reason="needs axe-core: the browser extra")
    options = {"viewport": {"width": width, "height": 657}, "color_scheme": "dark" if dark else "light"}
    page = open_page(explore_norm("batch_norm").html, reduced_motion="reduce", **options).page
    page.click("[data-part=code]")
    back = page.evaluate("now.steps.findLastIndex((step) => markOf(step) === markOf(now.steps[2]))")
    for step in (0, 2, back):
        page.evaluate(f"go({step})")
        found = axe.Axe().run(page, context="#panel")
        assert [violation["id"] for violation in found["violations"]] == []
        # Contrast is measured where an expression does not wrap.
        rules = [rule["nodes"] for rule in found["passes"] if rule["id"] == "color-contrast"]
        measured = [node["html"] for nodes in rules for node in nodes]
        assert any(html.startswith("<mark>") for html in measured) == (step > 0)
        assert page.evaluate("(e => e.scrollWidth <= e.clientWidth)(document.querySelector('#panel .code'))")
