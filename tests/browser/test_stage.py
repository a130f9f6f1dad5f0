"""The stage in a browser: all in one screen at every step, numbers that can be changed."""

from pathlib import Path

import numpy as np
import pytest

import tinygrad_norm as tn
from tinygrad_norm.graph.explorer import explore_norm, explore_norms
from tinygrad_norm.graph.explorer.scenes import example, norms, scenes_of_norm

from .printed import last_digit, number

pytestmark = [pytest.mark.browser, pytest.mark.exhaustive]

SCREENS = {"laptop": (1366, 657), "projector": (1280, 720), "phone": (390, 844)}
PROBES = (Path(__file__).parent / "probes.js").read_text(encoding="utf-8")


def attention(q, k, v):
    return tn.ops.softmax(q @ k.T / 2.0, axis=-1) @ v


def loss(logits):
    return tn.nn.cross_entropy(logits, np.array([0, 3, 1]))


A = np.random.default_rng(0).normal(size=(3, 4)).round(2)
PAGES = {
    "batch norm": lambda: explore_norm("batch_norm"),
    "layer norm": lambda: explore_norm("layer_norm"),
    "images": lambda: explore_norm("group_norm", shape=(2, 4, 2, 2)),
    "four norms": explore_norms,
    "attention": lambda: tn.explore(attention, A, A + 1, A * 2, axes={"q": "n d", "k": "k d"}),
    "loss": lambda: tn.explore(loss, A),
    "large": lambda: tn.explore(lambda x: np.tanh(x).sum(1), np.linspace(0, 1, 400).reshape(20, 20)),
    "too large": lambda: tn.explore(lambda x, w: tn.layer_norm(x @ w, 128), *np.ones((2, 128, 128))),
    "deep": lambda: tn.explore(lambda x: np.tanh(np.tanh(np.tanh(x * 2) * 3) * 4).sum() * np.exp(x[0, 0]), A),
}


def ask(page, question):
    """What a function of probes.js finds in a page."""
    return page.evaluate(f"() => {{ {PROBES}\n return {question}; }}")


@pytest.fixture(scope="module")
def bn():
    return explore_norm("batch_norm")


@pytest.fixture(scope="module")
def scenes():
    norm = norms()["batch_norm"]
    return scenes_of_norm(norm, example(norm, (4, 3)))


@pytest.mark.parametrize("screen", SCREENS)
@pytest.mark.parametrize("name", PAGES)
def test_every_step_of_every_scene_fits_one_screen(name, screen, open_page):
    width, height = SCREENS[screen]
    seen = open_page(PAGES[name]().html, viewport={"width": width, "height": height}, reduced_motion="reduce")
    assert ask(seen.page, "walk()") == []
    assert seen.errors == seen.messages == []
    assert len(seen.requests) == 1


def test_every_number_in_the_boxes_is_the_engines(bn, scenes, open_page):
    """Values as they are computed, gradients as they arrive, in every scene; by the keyboard alone."""
    page = open_page(bn.html, reduced_motion="reduce").page
    for index, scene in enumerate(scenes):
        page.select_option("#scene", str(index))
        page.focus("#next")
        page.keyboard.press("Home")
        recording = scene.recording
        arrived = {}
        computed = [t for t in recording.tensors if t.node is not None]
        given = [t for t in recording.tensors if t.node is None]
        links = [link for link in recording.links if link.before is not None]
        for step in range(1 + len(computed) + 1 + len(links)):
            if step > len(computed):
                link = links[step - len(computed) - 2] if step > len(computed) + 1 else None
                source = link.source if link else recording.y
                arrived[source] = arrived.get(source, 0) + (link.after if link else recording.cotangent)
            boxes = ask(page, "boxesNow()")
            seen = {*given, *computed[:step]}
            for t, (value, *gradient) in zip(recording.tensors, boxes, strict=True):
                agree(value, t.data if t in seen else None)
                if gradient:
                    agree(gradient[0], arrived.get(t))
            page.keyboard.press("ArrowRight")
        assert page.is_disabled("#next")


def agree(texts, array):
    """Printed numbers are those of an array to their digits, or nothing where there is none yet."""
    if array is None:
        assert set(texts) == {""}
        return
    for text, value in zip(texts, np.ravel(array).tolist(), strict=True):
        if text == "0":
            assert abs(value) < 1e-12
        elif text not in ("≈0", "≫", "≪"):
            assert abs(number(text) - value) <= 0.5001 * last_digit(text)


def test_a_number_typed_into_a_cell_moves_everything(bn, scenes, open_page):
    page = open_page(bn.html).page
    page.keyboard.press("End")
    cell = page.locator('#boxes [data-array="x"][data-cell="1,2"]')
    cell.dblclick()
    page.keyboard.type("-3.5")
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.dataset.cell") == "1,2"
    recording = scenes[0].recording
    inputs = {name: t.data.copy() for name, t in recording.leaves.items()}
    inputs["x"][1, 2] = -3.5
    changed = type(recording)(norms()["batch_norm"].call, inputs, recording.cotangent)
    for t, (value, *gradient) in zip(changed.tensors, ask(page, "boxesNow()"), strict=True):
        agree(value, t.data)
        agree(gradient[0], changed.gradients[t])
    x, before = changed.leaves["x"], recording.leaves["x"]
    said = page.text_content("#step .changes")
    old, new = recording.gradients[before][1, 2], changed.gradients[x][1, 2]
    assert f"∂L/∂x: {old:.3f} → {new:.3f}".replace("-", "−") in said
    page.click("#undo")
    assert cell.text_content() == f"{before.data[1, 2]:.2f}"
    assert page.is_disabled("#undo")


def test_keys_column_epsilon_and_dragging_change_numbers_and_are_undone(bn, open_page):
    page = open_page(bn.html).page

    def at(array, cell):
        return page.text_content(f'#boxes [data-array="{array}"][data-cell="{cell}"]')

    first = {array: at(array, cell) for array, cell in (("x", "0,0"), ("γ", "0"), ("∂L/∂y", "0,0"))}
    page.focus('#boxes [data-array="x"][data-cell="0,0"]')
    page.keyboard.type("7")
    page.keyboard.press("Enter")
    assert at("x", "0,0") == "7.00"
    page.keyboard.press("ArrowDown")
    page.keyboard.press("F2")
    page.keyboard.type("x")
    page.keyboard.press("Enter")  # no number: nothing happens
    page.keyboard.press("F2")
    page.keyboard.type("8")
    page.keyboard.press("Escape")
    assert page.evaluate("state.past.length") == 1
    column = [number(at("x", f"{i},0")) for i in range(4)]
    page.fill("#amount", "0.5")
    page.click("#plus")
    page.click("#times")
    assert [number(at("x", f"{i},0")) for i in range(4)] == pytest.approx([(x + 0.5) / 2 for x in column], abs=6e-3)
    page.fill("#epsilon", "0.25")
    page.press("#epsilon", "Enter")
    box = page.locator('#boxes [data-array="γ"][data-cell="0"]').bounding_box()
    page.mouse.move(box["x"] + 5, box["y"] + 5)
    page.mouse.down()
    page.mouse.move(box["x"] + 5, box["y"] + 5 - 40, steps=8)
    page.mouse.up()
    assert number(at("γ", "0")) == pytest.approx(number(first["γ"]) + 1)
    page.keyboard.press("End")
    page.locator('#boxes [data-array="∂L/∂y"][data-cell="0,0"]').dblclick()
    page.keyboard.type("1")
    page.keyboard.press("Enter")
    assert at("∂L/∂y", "0,0") == "1.00"
    assert page.evaluate("state.past.length") == 6
    for _ in range(6):
        page.click("#undo")
    assert page.is_disabled("#undo")
    assert page.is_disabled("#reset")
    assert (at("x", "0,0"), at("γ", "0")) == (first["x"], first["γ"])


def test_the_jacobian_is_the_engines(bn, scenes, open_page):
    page = open_page(bn.html).page
    page.click("#next")
    recording = scenes[0].recording
    inputs = [recording.leaves[name].data for name in ("γ", "β")]
    jacobian = tn.jacobian(lambda x: norms()["batch_norm"].call(x, *inputs), recording.leaves["x"].data)
    for i, j in np.ndindex(4, 3):
        page.click(f'#boxes [data-array="y"][data-cell="{i},{j}"]')
        shown = page.eval_on_selector_all("#step .side [data-cell]", "cells => cells.map(c => c.textContent)")
        agree(shown, np.asarray(jacobian)[i, j])
        assert page.get_attribute("#boxes .chosen >> nth=0", "data-cell") == f"{i},{j}"


def test_fragments_restore_scene_step_and_cell(bn, open_page):
    page = open_page(bn.html).page
    page.select_option("#scene", label="this batch's statistics, held constant")
    for _ in range(5):
        page.click("#next")
    page.click('#boxes [data-array="x"][data-cell="3,1"]')
    fragment = page.evaluate("location.hash")
    assert fragment == "#scene=constant&step=6&cell=3,1"
    step = page.text_content("#step")
    other = open_page(bn.html).page
    other.evaluate("hash => { location.hash = hash; }", fragment)
    other.wait_for_function("get('count').textContent.startsWith('Step 6')")
    assert other.text_content("#step") == step
    for broken in ("#scene=nothing&step=999&cell=9,9", "#step=-1&cell=a,b", "#cell=", "#%", "#part=nowhere"):
        other.evaluate("hash => { location.hash = hash; }", broken)
    assert other.is_visible("#step h2")


def test_everything_can_be_reached_and_done_by_keyboard(bn, open_page):
    page = open_page(bn.html).page
    reached = []
    for _ in range(60):
        page.keyboard.press("Tab")
        reached.append(
            page.evaluate(
                "(e => e.id || (e.dataset.array ?? e.closest('[data-box]')?.dataset.box))(document.activeElement)"
            )
        )
    assert {"scene", "next", "amount", "plus", "times", "epsilon", "0", "x", "y"} <= set(reached)
    page.locator('[data-box="2"] .title').focus()
    page.keyboard.press("Enter")
    assert page.text_content("#step h2") == "Forward x−μ = x − μ"
    page.keyboard.press("Enter")
    assert "from x̂ to x−μ" in page.text_content("#step h2")
    assert page.get_attribute('[aria-current="step"]', "data-box") == "2"
    # Cells by arrows; the step stays, and the space bar chooses.
    count = page.text_content("#count")
    page.locator('#boxes [data-array="x"][data-cell="0,0"]').focus()
    for key in ("ArrowDown", "ArrowRight", " "):
        page.keyboard.press(key)
    assert page.evaluate("document.activeElement.dataset.cell") == "1,1"
    assert "cell [1, 1]" in page.text_content("#step")
    assert page.text_content("#count") == count
    assert page.text_content("#status").startswith(count)


def test_on_a_phone_a_tap_on_a_box_shows_its_step(bn, open_page):
    page = open_page(bn.html, viewport={"width": 390, "height": 844}, has_touch=True, is_mobile=True).page
    page.tap('[data-box="4"]')
    assert page.text_content("#step h2").startswith("Forward σ²")
    page.tap("#next")
    assert page.text_content("#step h2").startswith("Forward r")
    page.tap("#change")
    page.fill("#epsilon", "1")
    page.press("#epsilon", "Enter")
    assert "→" in page.text_content("#step .changes")


def test_what_cannot_be_computed_again_cannot_be_changed(open_page):
    page = open_page(PAGES["too large"]().html).page
    assert "cannot be changed" in page.text_content("#held")
    assert page.is_hidden("#changes")
    page.locator('#boxes [data-array="x"][data-cell="0,0"]').dblclick()
    assert page.query_selector("#typing") is None
