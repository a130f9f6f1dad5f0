"""The arithmetic that a page prints for a cell is true, has no more digits than it needs, and is the engine's."""

import numpy as np
import pytest

import tinygrad_norm as tn
from tinygrad_norm.engine.tensor import Tensor
from tinygrad_norm.graph.explorer import explore_norm
from tinygrad_norm.graph.explorer.recording import Recording
from tinygrad_norm.graph.explorer.scenes import norms

from .printed import SAID, agrees, evaluated, inputs, last_digit, number, operands, untrue

pytestmark = [pytest.mark.browser, pytest.mark.exhaustive]


def attention(q, k, v):
    return tn.ops.softmax(q @ k.T / 2.0, axis=-1) @ v


A = np.random.default_rng(0).normal(size=(3, 4)).round(2)
PAGES = {
    "batch norm": (lambda: explore_norm("batch_norm"), 100),
    "layer norm": (lambda: explore_norm("layer_norm"), 30),
    "images": (lambda: explore_norm("group_norm", shape=(2, 4, 2, 2)), 8),
    "attention": (lambda: tn.explore(attention, A, A + 1, A * 2), 30),
    "loss": (lambda: tn.explore(lambda x: tn.nn.cross_entropy(x, np.array([0, 3, 1])), A), 20),
    "linear": (lambda: tn.explore(lambda x, w, b: x @ w + b, A, A.T, A[0, :3]), 20),
    "elementwise": (lambda: tn.explore(lambda x: abs(x) ** 1.5 + np.maximum(x, 0.5) / (2 + np.tanh(x)), A), 20),
}
LEAVES = """[...now.stage.inputs.map(i => now.stage.boxes[i].v), now.stage.cotangent]
    .map(v => [v, now.program.vertices[v].shape])"""


def edits_of(page, count, seed=0):
    """Other numbers for the first input, every third time for all of them and the cotangent."""
    rng, leaves = np.random.default_rng(seed), page.evaluate(LEAVES)
    some = [leaves if k % 3 == 2 else leaves[:1] for k in range(count)]
    return [[[v, inputs(rng, tuple(shape) or (1,)).ravel().tolist()] for v, shape in which] for which in some]


@pytest.mark.parametrize("name", PAGES)
def test_printed_arithmetic_is_true_for_random_inputs(name, open_page):
    """At every step, for every cell; also for numbers that cancel, are large, small, tied or zero."""
    make, count = PAGES[name]
    page = open_page(make().html).page
    lines = page.evaluate(SAID, edits_of(page, count))
    wrong, looked_at = untrue(lines)
    assert wrong == []
    assert looked_at > 0.7 * len(lines)
    assert not [text for _, text in lines if "NaN" in text or "undefined" in text]


def test_it_is_true_in_every_scene_of_batch_norm(open_page):
    page = open_page(explore_norm("batch_norm").html).page
    for scene in range(page.evaluate("data.scenes.length")):
        page.evaluate("scene => chooseScene(scene, 0)", scene)
        wrong, looked_at = untrue(page.evaluate(SAID, edits_of(page, 12, seed=scene)))
        assert wrong == []
        assert looked_at > 300


def test_untrue_arithmetic_would_be_found():
    lines = [[0, "y = a · b = 0.5 · 0.5 = 0.260"], [0, "y = √(2.000 + (1 + 1)) = 2.000"], [0, "y = x = 1"]]
    assert untrue(lines) == (lines[:1], 2)


def test_printed_numbers_are_the_engines(open_page):
    """Results of every step, and the operands of forward steps, beside the engine's own run on the changed inputs."""
    page = open_page(explore_norm("batch_norm").html).page
    names = page.evaluate("now.stage.inputs.map(i => now.stage.boxes[i].name)")
    shapes = [shape for _, shape in page.evaluate(LEAVES)]
    rng = np.random.default_rng(1)
    for _ in range(12):
        arrays = [inputs(rng, tuple(shape)) for shape in shapes]
        edit = [[v, x.ravel().tolist()] for (v, _), x in zip(page.evaluate(LEAVES), arrays, strict=True)]
        given = dict(zip(names, arrays, strict=False))
        recording = Recording(norms()["batch_norm"].call, given, arrays[-1])
        expected = results(recording)
        for (_, step, _, cell), text in page.evaluate(SAID, [edit]):
            values, parts, scale = expected[step]
            if " = " in text and not text.startswith(("Σ", "∂L")):
                assert close(text.split(" = ")[-1], values.flat[cell], scale), text
            for operand in operands(text) if parts else []:
                assert any(close(operand, value, scale) for value in parts), (text, operand)
        last = {(step, cell): text for (_, step, _, cell), text in page.evaluate(SAID, [edit])}
        for (step, cell), text in last.items():
            values, _, scale = expected[step]
            assert close(text.split(" = ")[-1], values.flat[cell], scale), (text, values.flat[cell])


def close(text, value, scale):
    """Whether a number is printed to its digits, or to what rounding leaves of numbers of this size."""
    return agrees(text, value) or agrees(text, -value) or abs(number(text) - value) <= 1e-9 * scale + 5e-4


def results(recording):
    """Of each step its array, the operands of a forward step, and the size of the largest number in it."""
    given = next(iter(recording.leaves.values())).data
    found = [(given, [], np.abs(given).max())]
    for t in recording.tensors:
        if t.node is not None:
            arrays = [x.data if isinstance(x, Tensor) else np.asarray(x) for x in t.node.inputs]
            count = arrays[0].size // t.size
            parts = [*np.concatenate([array.ravel() for array in arrays]), 1, 2, count, 1e-5]
            found.append((t.data, [*map(float, parts), *inside(t)], np.abs(parts).max()))
    found.append((recording.cotangent, [], np.abs(recording.cotangent).max()))
    arrived, scale = {}, {recording.y: 0.0}
    for link in recording.links:
        if link.before is not None:
            arrived[link.source] = arrived.get(link.source, 0) + link.after
            scale[link.source] = max(scale.get(link.source, 0), np.abs(link.before).max(), scale[link.target])
            found.append((arrived[link.source], [], scale[link.source]))
    return found


def inside(t):
    """What is folded into a step: σ² in r = 1/√(σ² + ε)."""
    return [float(v) for x in t.node.inputs if isinstance(x, Tensor) and x.node for y in x.node.inputs
            if isinstance(y, Tensor) for v in y.data.ravel()]  # fmt: skip


# Each kind of line that was wrong or longer than it must be, with a small example.


@pytest.fixture(scope="module")
def printed(browser):
    context = browser.new_context()
    page = context.new_page()
    page.set_content(explore_norm("batch_norm", seed=1).html)
    yield lambda expression, value: page.evaluate("([e, v]) => arithmetic(e, v)", [expression, value])
    context.close()


def test_a_half_may_be_rounded_up_or_down(printed):
    almost = 3.3249999999999997
    assert printed(["multiply", almost, -1.5], almost * -1.5) == ["3.325 · (−1.500)", "−4.987"]
    assert printed(["multiply", 1.8619999999999999, -2.5e-4], -4.655e-4)[0] == "1.862 · (−2.50e−4)"


def test_large_terms_are_written_as_the_result_is(printed):
    terms = [285492.9060867592, 2569659.864, 285570.0326065946, 285490.3528110097]
    text, end = printed(["mean", *terms], sum(terms) / 4)
    assert "e+" not in text
    assert number(end) == evaluated(text).__round__(3)
    assert printed(["add", 2.5e7, 1e7], 3.5e7) == ["2.50e+7 + 1.00e+7", "3.50e+7"]


def test_small_negative_results_keep_their_digits_and_nothing_has_no_sign(printed):
    assert printed(["multiply", 0.0712, -0.007], -4.984e-4) == ["0.0712 · (−0.007)", "−4.98e−4"]
    assert printed(["subtract", 0.1 + 0.2, 0.3 + 1e-12], -1e-12 + 5e-17)[1] in ("0.000", "−1.00e−12")


def test_what_is_not_finite_is_said_as_it_is(open_page):
    """A column of equal numbers without ε: 1/√0."""
    page = open_page(explore_norm("batch_norm").html).page
    epsilon = [[v, [0]] for v in page.evaluate("now.stage.epsilons")]
    said = {text for _, text in page.evaluate(SAID, [[*epsilon, [page.evaluate("now.stage.boxes[0].v"), [1] * 12]]])}
    assert "r = 1/√(σ² + ε) = 1/√(0 + 0) = ∞" in said
    assert "x̂ = (x−μ) · r = 0 · ∞ = NaN" in said


def test_operands_have_the_fewest_digits_that_make_the_line_true(printed):
    rng = np.random.default_rng(2)
    for a, b in 10.0 ** rng.uniform(-2, 3, size=(200, 2)) * rng.choice([-1, 1], size=(200, 2)):
        text, end = printed(["multiply", a, b], a * b)
        digits = next(
            d for d in range(3, 18) if abs(round(a, d) * round(b, d) - number(end)) <= 0.50001 * last_digit(end)
        )
        assert agrees(end, a * b)
        assert max(len(each.partition(".")[2]) for each in operands(f"y = {text} = {end}")) <= digits


def test_a_factor_that_varies_is_shown_however_small_it_is(open_page):
    """r³ is 1e-24 where x is 1e8: its cells differ all the same."""
    page = open_page(explore_norm("batch_norm").html).page
    page.evaluate("change(now.stage.boxes[0].v, now.values[now.stage.boxes[0].v].map(x => x * 1e8))")
    page.evaluate("go(now.steps.findIndex(s => s.link !== undefined && now.stage.links[s.link].factor === '−½ r³'))")
    assert page.locator("#step .line .term").count() == 3


@pytest.mark.parametrize("count", [17, 41, 300])
def test_long_sums_print_their_first_terms_and_how_many_more(count, open_page):
    x = np.random.default_rng(count).normal(size=(2, count))
    page = open_page(tn.explore(lambda x: (np.tanh(x).sum(1) + x.mean(1)) * 2, x).html).page
    lines = [text for _, text in page.evaluate(SAID, [[]]) if "more" in text]
    assert len(lines) >= 4
    for text in lines:
        terms = text.split(" = ")[-2].removeprefix("(").split(") / ")[0].split(" + ")
        hidden = sum(int(term.split()[1]) for term in terms if "more" in term)
        assert len([term for term in terms if "more" not in term]) + hidden == count
    total = np.tanh(x).sum(1)
    first = [text for text in lines if text.startswith("Σ")]
    assert {number(text.split(" = ")[-1]) for text in first} == {round(value, 3) for value in total.tolist()}
    assert all(agrees(a, b) for a, b in zip(operands(first[0])[:4], np.abs(np.tanh(x[0])), strict=False))


def test_a_product_with_more_than_forty_terms_prints_the_chosen_one(open_page):
    rng = np.random.default_rng(3)
    a, b = rng.normal(size=(2, 60)), rng.normal(size=(60, 2))
    a[0, 30], b[30, 1] = 10.0, 10.0
    page = open_page(tn.explore(lambda a, b: a @ b, a, b).html).page
    (text,) = [t for (_, step, flat, _), t in page.evaluate(SAID, [[]]) if (step, flat) == (1, 1)]
    assert "… 26 more … + 10.000 · 10.000 + … 27 more …" in text
    assert text.endswith(f"= {(a @ b)[0, 1]:.3f}".replace("-", "−"))
