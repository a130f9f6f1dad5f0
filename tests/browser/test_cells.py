"""The chosen cell in every array: the one that the graph names, and always in view."""

import numpy as np
import pytest

import tinygrad_norm as tn
from tinygrad_norm.graph.explorer import explore_norm

from .printed import agrees

pytestmark = [pytest.mark.browser, pytest.mark.exhaustive]

RNG = np.random.default_rng(1)
A, X, W, B = (RNG.normal(size=shape).round(2) for shape in ((3, 4), (3, 5), (5, 4), (4,)))
BATCHES = RNG.normal(size=(2, 3, 4)).round(2), RNG.normal(size=(2, 4, 2)).round(2)
TALL = RNG.normal(size=(64, 30)).round(2)


def attention(q, k, v):
    return tn.ops.softmax(q @ k.T / 2.0, axis=-1) @ v


FUNCTIONS = {
    "attention": lambda: tn.explore(attention, A, A + 1, A * 2),
    "linear": lambda: tn.explore(lambda x, W, b: x @ W + b, X, W, B),
    "einsum": lambda: tn.explore(lambda a, b: np.einsum("ij,kj->ik", a, b), X, W.T),
    "batched": lambda: tn.explore(lambda a, b: a @ b, *BATCHES),
    "pooled": lambda: tn.explore(lambda x: np.tanh(x).mean(0) * 2, A),
    "greatest": lambda: tn.explore(lambda x: (x * 2).max(1), A),
    "joined": lambda: tn.explore(lambda a, b: np.concatenate([a, b], 1) * 2, A, A + 1),
    "gram": lambda: tn.explore(lambda a: a @ a.T, A),
    "loss": lambda: tn.explore(lambda x: tn.nn.cross_entropy(x, np.array([0, 3, 1])), A),
    "squares": lambda: tn.explore(lambda x, W: ((x @ W) ** 2).sum(), X, W),
    "batch norm": lambda: explore_norm("batch_norm"),
    "images": lambda: explore_norm("group_norm", shape=(2, 4, 2, 2)),
}
CHOSEN = """() => Object.fromEntries([...document.querySelectorAll("[data-box]")].map(box => [
  now.stage.boxes[box.dataset.box].name,
  (box.querySelector(".matrix .chosen") || { dataset: { cell: "none" } }).dataset.cell.split(",").map(Number)]))"""


def chosen(page, cell):
    page.evaluate("cell => pick(cell)", cell)
    return page.evaluate(CHOSEN)


def go_to(page, box, kind="forward"):
    page.evaluate(
        "([name, kind]) => go(now.steps.findIndex(s => s.kind === kind && now.stage.boxes[s.box].name === name))",
        [box, kind],
    )


def marked(page, which=".used, .chosen"):
    """Of each matrix in the step's line, which cells are marked."""
    return page.eval_on_selector_all(
        "#step .line .matrix",
        "(grids, which) => grids.map(g => [...g.querySelectorAll(`:is(${which})`)].map(cell => cell.dataset.cell))",
        which,
    )


def test_attention_follows_rows_and_columns(open_page):
    page = open_page(FUNCTIONS["attention"]().html).page
    q, k, v = A, A + 1, A * 2
    scores = q @ k.T / 2
    weights = np.exp(scores - scores.max(1, keepdims=True))
    weights /= weights.sum(1, keepdims=True)
    for i, j in np.ndindex(3, 4):
        cells = chosen(page, [i, j])
        m = int(np.abs(weights[i] * v[:, j]).argmax())  # the key that contributes most
        d = int(np.abs(q[i] * k[m]).argmax())
        assert cells["y"] == [i, j]
        assert cells["softmax"] == cells["difference"] == cells["exp(difference)"] == [i, m]
        assert (cells["v"], cells["q"], cells["k"]) == ([m, j], [i, d], [m, d])
        rows = [cells[name][0] for name in cells if name.startswith(("max", "Σ", "log"))]
        assert rows == [i] * 3


def test_the_row_and_the_column_of_a_product_are_marked_and_their_numbers_printed(open_page):
    page = open_page(FUNCTIONS["attention"]().html).page
    page.evaluate("pick([1, 2])")
    go_to(page, "y")
    weights, v, y = marked(page)
    assert set(weights) == {"1,0", "1,1", "1,2"}
    assert set(v) == {"0,2", "1,2", "2,2"}
    assert y == ["1,2"]
    shown = page.eval_on_selector_all("#step .line .chosen", "cells => cells.map(cell => cell.textContent)")
    text = page.text_content("#step .part")
    for number in shown:
        assert number.strip("−") in text
    # Backward, the contribution to q[1, d] is a row of the gradient times a column of k.
    go_to(page, "q", "backward")
    gradient, k, contribution = marked(page)
    assert {cell[0] for cell in gradient} == {"1"}
    assert len({cell[2] for cell in k}) == 1
    assert len(gradient) == len(k) == 3
    assert contribution[0].split(",") == ["1", k[0].split(",")[1]]
    assert all(len(cells) == 1 for cells in marked(page, ".chosen"))


@pytest.mark.parametrize(
    ("name", "cell", "expected"),
    [
        ("linear", [1, 2], lambda d: {"x": [1, d], "W": [d, 2], "b": [2], "y": [1, 2]}),
        ("einsum", [2, 3], lambda d: {"a": [2, d], "b": [3, d], "y": [2, 3]}),
        ("batched", [1, 2, 0], lambda d: {"a": [1, 2, d], "b": [1, d, 0], "y": [1, 2, 0]}),
    ],
)
def test_products_follow_row_and_column(name, cell, expected, open_page):
    factors = {"linear": X[1] * W[:, 2], "einsum": X[2] * W[:, 3], "batched": BATCHES[0][1, 2] * BATCHES[1][1, :, 0]}
    page = open_page(FUNCTIONS[name]().html).page
    cells = chosen(page, cell)
    wanted = expected(int(np.abs(factors[name]).argmax()))
    assert {box: cells[box] for box in wanted} == wanted


def test_reductions_and_joined_arrays_are_followed_too(open_page):
    page = open_page(FUNCTIONS["pooled"]().html).page
    for j in range(4):
        assert chosen(page, [j])["x"] == [int(np.abs(np.tanh(A[:, j])).argmax()), j]
    page = open_page(FUNCTIONS["greatest"]().html).page
    for i in range(3):
        assert chosen(page, [i])["x"] == [i, int(A[i].argmax())]
    page = open_page(FUNCTIONS["joined"]().html).page
    assert chosen(page, [2, 1])["a"] == [2, 1]
    assert chosen(page, [2, 7])["b"] == [2, 3]
    page = open_page(FUNCTIONS["loss"]().html).page
    assert page.evaluate("pick([0, 1])") is None
    assert page.evaluate(CHOSEN)["getitem"] == [0]  # row 0 has one number there


@pytest.mark.parametrize("name", FUNCTIONS)
def test_every_cell_of_every_array_can_be_chosen(name, open_page):
    page = open_page(FUNCTIONS[name]().html).page
    wrong = page.evaluate(
        """() => {
          const wrong = [];
          for (const box of now.stage.boxes) for (let flat = 0; flat < product(box.shape); flat++) {
            pickIn(box, indexOf(box.shape, flat), false);
            if (chosenIn(box) !== flat) wrong.push([box.name, flat]);
          }
          return wrong;
        }"""
    )
    assert wrong == []


def test_a_click_where_the_first_choice_does_not_reach_pins_that_cell(open_page):
    page = open_page(FUNCTIONS["attention"]().html).page
    page.evaluate("pick([1, 2])")
    page.click('#boxes [data-box] [data-array="k"][data-cell="0,3"]')
    cells = page.evaluate(CHOSEN)
    assert (cells["k"], cells["y"], cells["softmax"]) == ([0, 3], [1, 2], [1, 0])
    assert (cells["q"], cells["v"]) == ([1, 3], [0, 2])
    fragment = page.evaluate("location.hash")
    other = open_page(FUNCTIONS["attention"]().html).page
    other.evaluate("hash => { location.hash = hash; }", fragment)
    other.wait_for_function("state.pin !== null")
    assert other.evaluate(CHOSEN) == cells
    for broken in ("in=99:1,1", "in=0:9,9,9", "in=0:", "in=a:b", "in=1", "in=-1:0"):
        other.evaluate("hash => { location.hash = hash; }", f"#cell=1,1&{broken}")
        other.wait_for_timeout(30)
        assert other.evaluate(CHOSEN)["y"] == [1, 1]
    page.click('#boxes [data-array="y"][data-cell="0,0"]')
    assert "in=" not in page.evaluate("location.hash")


def test_the_choice_stays_when_numbers_change(open_page):
    page = open_page(FUNCTIONS["linear"]().html).page
    before = chosen(page, [1, 2])
    page.evaluate("change(now.stage.boxes[0].v, now.values[now.stage.boxes[0].v].map((x, i) => 100 * ((i * 7) % 5)))")
    assert page.evaluate(CHOSEN) == before
    page.evaluate("pick([0, 0])")
    assert chosen(page, [1, 2]) == before


def test_choosing_is_quick_in_larger_products(open_page):
    a, b = RNG.normal(size=(2, 16, 16))
    page = open_page(tn.explore(lambda a, b: np.tanh(a @ b), a, b).html).page
    assert page.evaluate("now.program.live")
    # Beside drawing the page, finding the cells takes no time that anyone would feel.
    time = """() => {
      const start = performance.now();
      pickIn(now.stage.boxes[0], [13, 2], false);
      const picked = performance.now();
      redraw("cell");
      return (picked - start) / (performance.now() - picked);
    }"""
    assert min(page.evaluate(time) for _ in range(5)) < 4


# Arrays that are larger than what is shown of them.


@pytest.fixture(scope="module")
def tall():
    return tn.explore(lambda x: tn.normalize(x, "n c -> c"), TALL).html


def test_the_shown_part_follows_the_chosen_cell(tall, open_page):
    page = open_page(tall, viewport={"width": 1366, "height": 657}).page
    go_to(page, "x−μ")
    for i, j in [(0, 0), (15, 23), (16, 24), (50, 27), (63, 29), (31, 3), (7, 20)]:
        cells = chosen(page, [i, j])
        assert cells["x"] == cells["x−μ"] == [i, j]
        assert cells["μ"][-1] == j
        seen = page.eval_on_selector_all(
            '#boxes [data-array="x"]', "cells => cells.map(cell => cell.dataset.cell.split(',').map(Number))"
        )
        rows, columns = sorted({a for a, _ in seen}), sorted({b for _, b in seen})
        assert (len(rows), len(columns)) == (16, 24)
        title = f"rows {rows[0]}–{rows[-1]} of 64, columns {columns[0]}–{columns[-1]} of 30"
        assert page.get_attribute('#boxes [aria-label="x"].matrix', "title") == title
        assert page.locator("#step .line .chosen").count() == 3
        assert f"rows {rows[0]}–{rows[-1]}" in page.text_content("#step .line")
        assert f"columns {columns[0]}–{columns[-1]} of 30" in page.text_content('#boxes .title:has-text("μ")')
        text = page.text_content("#step .part")
        assert agrees(text.split(" = ")[-2].split(" − ")[0], TALL[i, j])
        at = page.locator('#boxes [data-array="x"].chosen').first
        assert f"[{i}, {j}]" in at.get_attribute("aria-label")


def test_what_is_picked_in_a_part_stays_in_it(tall, open_page):
    page = open_page(tall, viewport={"width": 1366, "height": 657}).page
    chosen(page, [50, 3])
    page.locator('#boxes [data-array="x"][data-cell="47,5"]').first.click()
    assert page.evaluate(CHOSEN)["x"] == [47, 5]
    assert "cell=47,5" in page.evaluate("location.hash")


def test_arrow_keys_go_on_where_the_shown_part_ends(tall, open_page):
    page = open_page(tall, viewport={"width": 1366, "height": 657}).page
    chosen(page, [0, 0])
    page.locator('#boxes [data-array="x"][data-cell="15,0"]').first.focus()
    for key, cell in [("ArrowDown", "16,0"), ("ArrowDown", "17,0"), ("ArrowUp", "16,0")]:
        page.keyboard.press(key)
        assert page.evaluate("document.activeElement.dataset.cell") == cell
    page.keyboard.type("5")
    page.keyboard.press("Enter")
    assert page.evaluate("now.values[now.stage.boxes[0].v][16 * 30]") == 5
    chosen(page, [63, 0])
    page.locator('#boxes [data-array="x"][data-cell="63,0"]').first.focus()
    page.keyboard.press("ArrowDown")
    assert page.evaluate("document.activeElement.dataset.cell") == "63,0"


def test_of_what_cannot_be_computed_again_a_corner_is_shown_and_said_so(open_page):
    page = open_page(tn.explore(lambda x, w: tn.layer_norm(x @ w, 128), *np.ones((2, 128, 128))).html).page
    assert "128" in page.get_attribute('#boxes [aria-label="x"].matrix', "title")


@pytest.mark.parametrize("name", FUNCTIONS)
def test_graphs_with_digits_are_drawn_large_enough_and_titles_are_whole(name, open_page):
    page = open_page(FUNCTIONS[name]().html, viewport={"width": 1366, "height": 657}, reduced_motion="reduce").page
    if name not in ("images", "batched"):
        assert page.evaluate("get('boxes').className") == "digits"
        assert page.evaluate("get('boxes').getBoundingClientRect().width / get('boxes').offsetWidth") > 0.9
    cut = "titles => titles.filter(t => t.scrollWidth > t.clientWidth + 1).map(t => t.textContent)"
    assert page.eval_on_selector_all("#boxes .title", cut) == []
