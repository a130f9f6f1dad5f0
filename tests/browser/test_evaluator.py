"""The evaluator computes what the engine computes: after any edit, every array, contribution and gradient of a page."""

import numpy as np
import pytest
from hypothesis import Phase, assume, given, settings
from hypothesis import strategies as st
from numpy_rows import ROWS as MORE_ROWS
from primitive_table import COMPOSITES, ROWS
from strategies import generators

import tinygrad_norm as tn
from tests.browser.evaluation import SCRIPT, Case, Point, compare, moved, recorded
from tinygrad_norm.engine.primitive import PRIMITIVES
from tinygrad_norm.graph.explorer import families, program
from tinygrad_norm.graph.offline import as_json

pytestmark = [pytest.mark.browser, pytest.mark.exhaustive]

EDITS = 200
_rng = np.random.default_rng(0)


def normal(*shape):
    return _rng.normal(size=shape).round(2)


X = np.array([[1.0, 2, 0], [3, 5, 1], [5, 2, 3], [7, 3, 4]])
AFFINE = {"x": X, "γ": np.array([0.5, 2, -1]), "β": np.array([1.0, 0, 2])}
IMAGES = {"x": normal(2, 4, 2, 2), "γ": normal(4), "β": normal(4)}
THREE = {"q": normal(3, 4), "k": normal(3, 4), "v": normal(3, 4)}
STATISTICS = {"x": X, "μ": X.mean(0), "σ²": X.var(0), "γ": AFFINE["γ"], "β": AFFINE["β"]}


def mean_absolute_deviation(x, eps):
    centred = x - np.mean(x, axis=1, keepdims=True)
    return centred / (np.mean(np.abs(centred), axis=1, keepdims=True) + eps)


def attention_by_hand(q, k, v):
    scores = q @ k.T / 2.0
    shares = np.exp(scores - np.max(scores, axis=-1, keepdims=True))
    return shares / shares.sum(axis=-1, keepdims=True) @ v


def causal_attention(q, k, v):
    scores = np.where(np.tri(3, dtype=bool), q @ k.T / 2.0, -np.inf)
    return tn.ops.softmax(scores) @ v


def hinge(x, w):
    scores = x @ w
    margin = scores - scores[np.arange(4), np.argmax(x, axis=1)].reshape(-1, 1)
    return np.where((margin > -1) & ~(margin == 0), margin + 1, 0).sum() / (1 + (margin > 0).sum())


CASES = {
    "batch norm": Case(lambda x, w, b, e: tn.batch_norm(x, weight=w, bias=b, eps=e), AFFINE, 1e-5),
    "batch norm of images": Case(lambda x, w, b, e: tn.batch_norm(x, weight=w, bias=b, eps=e), IMAGES, 1e-5),
    "batch norm at test time": Case(
        lambda x, m, v, w, b, e: tn.batch_norm(x, mean=m, var=v, weight=w, bias=b, eps=e), STATISTICS, 1e-5, ("σ²",)
    ),
    "layer norm": Case(lambda x, w, b, e: tn.layer_norm(x, 3, w, b, e), AFFINE, 1e-5),
    "layer norm of images": Case(lambda x, e: tn.layer_norm(x, (4, 2, 2), eps=e), {"x": IMAGES["x"]}, 1e-5),
    "instance norm": Case(lambda x, w, b, e: tn.instance_norm(x, weight=w, bias=b, eps=e), IMAGES, 1e-5),
    "group norm": Case(lambda x, w, b, e: tn.group_norm(x, 2, w, b, e), IMAGES, 1e-5),
    "RMS norm": Case(lambda x, w, e: tn.rms_norm(x, 3, w, e), {"x": X, "γ": AFFINE["γ"]}, 1e-6),
    "a pattern": Case(lambda x, e: tn.normalize(x, "n c h w -> h", eps=e), {"x": IMAGES["x"]}, 1e-5),
    "float32 statistics": Case(
        lambda x, e: tn.layer_norm(x, 3, eps=e, stats_dtype=np.float32), {"x": X}, 1e-5, tolerance=1e-3
    ),
    "two layers": Case(
        lambda x, w, v: tn.batch_norm(tn.ops.relu(tn.batch_norm(x @ w)) @ v),
        {"x": X, "w": normal(3, 4), "v": normal(4, 2)},
    ),
    "mean absolute deviation": Case(mean_absolute_deviation, {"x": X}, 1e-5),
    "range norm": Case(lambda x, e: (x - np.mean(x, 0)) / (np.max(x, 0) - np.min(x, 0) + e), {"x": X}, 1e-5),
    "median norm": Case(lambda x, e: (x - np.median(x, 0)) / np.sqrt(np.var(x, 0) + e), {"x": X}, 1e-5),
    "attention": Case(lambda q, k, v: tn.ops.softmax(q @ k.T / 2.0, axis=-1) @ v, THREE),
    "attention by hand": Case(attention_by_hand, THREE),
    "causal attention": Case(causal_attention, THREE),
    "cross entropy": Case(lambda z: tn.nn.cross_entropy(z, np.array([0, 3, 1])), {"z": normal(3, 4)}),
    "mean squares": Case(lambda x, t: ((x - t) ** 2).mean(), {"x": X, "t": normal(4, 3)}),
    "log-sum-exp": Case(lambda x: tn.ops.logsumexp(x, axis=0), {"x": X}),
    "hinge": Case(hinge, {"x": X, "w": normal(3, 3)}),
    "einsum": Case(
        lambda q, k: np.einsum("ij,kj->ik", q, k) / np.std(q, axis=1, keepdims=True),
        {"q": normal(3, 4), "k": normal(2, 4)},
    ),
    "ReLU": Case(lambda x, w: tn.ops.relu(x * w), {"x": X - 2.2, "w": AFFINE["γ"]}),
    "clip": Case(lambda x: np.clip(x, -1.0, 1.0) * x, {"x": X - 2.2}),
    "clip to what data say": Case(lambda x: np.clip(x, x.detach().min(axis=0), 0.5), {"x": X - 2.2}),
    "where": Case(lambda x, w: np.where(x > w, x * x, -0.1 * x), {"x": X, "w": AFFINE["γ"]}),
    "maximum, tanh, power": Case(
        lambda x, w: np.maximum(x, w) ** 2 * np.tanh(x) + np.exp(w) ** -0.5, {"x": X + 0.3, "w": AFFINE["γ"]}
    ),
    "ties": Case(lambda x: np.max(np.round(x), axis=0) * x + np.maximum(np.floor(x), 2), {"x": X}),
    "GELU, softplus, SiLU": Case(lambda x: tn.ops.gelu(x, "tanh") + tn.ops.softplus(x) * tn.ops.silu(x), {"x": X - 3}),
    "convolution": Case(lambda x, w: np.convolve(x, w) * 2, {"x": normal(6), "w": normal(3)}),
    "running": Case(lambda x: np.cumsum(x, 0) * np.cumprod(x, 1) + np.sort(x, axis=0) - x.prod(), {"x": X / 3}),
    "a gradient norm": Case(
        lambda x: np.square(tn.grad(tn.layer_norm(x, 3) ** 3, x, np.ones((4, 3)), create_graph=True)).sum(), {"x": X}
    ),
    "counted from the end": Case(lambda x: x[np.arange(4), np.argmax(x, axis=1) - 3] * x[..., 1], {"x": X}),
    "joined": Case(lambda x: np.pad(np.concatenate([x, x[::-1]]), 1, constant_values=2.0) ** 2, {"x": X}),
}


@pytest.fixture(scope="module")
def page(browser):
    page = browser.new_page()
    page.add_script_tag(content=SCRIPT)
    yield page
    page.close()


def agrees(page, case, edits=EDITS):
    """Everything stays live, and is what the engine gives, where it was recorded and after random edits."""
    rng = np.random.default_rng(1)
    recording, found, here = recorded(case)
    assert found["live"]
    assert not found["held"]
    compare(page, case, [here, *(moved(case, here, rng) for _ in range(edits))], recording, found)


@pytest.mark.parametrize("name", CASES)
def test_edits_give_what_the_engine_gives(page, name):
    agrees(page, CASES[name])


# One or two arrays of shape (3, 4), and ε, to another of that shape.
STEPS = [
    lambda a, b, e: a + b,
    lambda a, b, e: a * b - 0.5,
    lambda a, b, e: a / (b * b + 1),
    lambda a, b, e: np.maximum(a, b),
    lambda a, b, e: np.minimum(a, 0.5 * b) + np.hypot(a, b),
    lambda a, b, e: np.logaddexp(a, b),
    lambda a, b, e: np.where(a > b, np.tanh(a), 0.3 * b),
    lambda a, b, e: tn.ops.relu(a) * tn.ops.sigmoid(b),
    lambda a, b, e: np.sqrt(a * a + e) - np.abs(b),
    lambda a, b, e: np.clip(a, -1, 1) + np.arctan(b),
    lambda a, b, e: tn.ops.softmax(a @ b.T / 2) @ a,
    lambda a, b, e: np.einsum("ij,kj,kl->il", a, b, a) / 4,
    lambda a, b, e: a - np.max(b, axis=0),
    lambda a, b, e: np.cumsum(np.sort(a, axis=1), axis=0) / 3 + b[::-1],
    lambda a, b, e: tn.layer_norm(a, 4, eps=e) + b[:, [1, 0, 3, 2]],
    lambda a, b, e: tn.normalize(a, "n c -> c", eps=e) * b.mean(1, keepdims=True),
    lambda a, b, e: a / (np.std(b, axis=0) + e),
    lambda a, b, e: tn.rms_norm(a, 4, eps=e) - tn.ops.logsumexp(b, axis=0, keepdims=True),
]


def composed(steps):
    def run(x, w, eps):
        known = [x, w]
        for step, i, j in steps:
            known.append(STEPS[step](known[i % len(known)], known[j % len(known)], eps))
        return known[-1]

    return run


NUMBER = st.integers(0, 9)


@given(st.lists(st.tuples(st.integers(0, len(STEPS) - 1), NUMBER, NUMBER), min_size=2, max_size=6))
@settings(max_examples=8)
def test_any_composition_gives_what_the_engine_gives(page, steps):
    agrees(page, Case(composed(steps), {"x": THREE["q"], "w": THREE["k"]}, 1e-5))


@pytest.mark.parametrize("row", [*ROWS, *COMPOSITES, *MORE_ROWS], ids=lambda row: row.label)
def test_every_primitive_gives_what_the_engine_gives(page, row):
    """At every order of its numbers: with other ties, signs and branches."""

    @given(row.cases, generators)
    @settings(max_examples=8, phases=[Phase.generate])
    def agree(drawn, rng):
        inputs, static = drawn
        assume(all(x.size for x in inputs) and np.size(row.reference(*inputs, **static)))
        # Twice, so that something is computed even if the row returns its input.
        case = Case(lambda *xs: 2 * row.call(*xs, **static), dict(zip("abc", inputs, strict=False)))
        recording, found, here = recorded(case)
        others = [{name: rng.permutation(x.ravel()).reshape(x.shape) for name, x in case.inputs.items()} for _ in "12"]
        compare(page, case, [here, *(Point(other, here.cotangent) for other in others)], recording, found)

    agree()


def test_a_row_of_the_jacobian(page):
    case = CASES["batch norm"]
    _, found, here = recorded(case)
    values = page.evaluate(
        "([program, cell, x]) => [...Evaluator.row(program, cell)[program.shown[x].gradient]]", [found, 7, 0]
    )
    want = tn.jacobian(lambda x: case.fn(x, here.inputs["γ"], here.inputs["β"], here.eps), X).reshape(12, 12)
    np.testing.assert_allclose(values, want[7], rtol=0, atol=1e-12)


@pytest.mark.parametrize("name", ["batch norm", "maximum, tanh, power", "range norm", "mean squares"])
def test_local_factors_are_the_rules_where_the_gradient_is_one(page, name):
    recording, found, _ = recorded(CASES[name])
    assert all(link["factor"] for link in found["links"])
    factors = page.evaluate("p => p.links.map(link => [...Evaluator.factor(p, link)])", found)
    for link, factor in zip(recording.links, factors, strict=True):
        node = link.target.node
        want = node.primitive.rules[link.operand](
            np.ones(link.target.shape), link.target.data, *node.arrays, **node.static
        )
        np.testing.assert_allclose(factor, np.ravel(want), rtol=1e-12, atol=1e-12)


def test_the_evaluator_knows_every_operation_that_programs_are_made_of(page):
    elementwise, lanes = page.evaluate("[Object.keys(Evaluator.ELEMENTWISE), Object.keys(Evaluator.LANES)]")
    assert set(elementwise) == families.ELEMENTWISE
    assert set(lanes) == families.REDUCTIONS | families.RUNNING


SPECIAL = np.array(
    [np.nan, np.inf, -np.inf, 0.0, -0.0, 1, -1, 0.5, -0.5, 1.5, 2.5, -2.5, 7, -7, 30, -800, 1e-320, 1e300]
)
INTEGERS = {"bitwise_and", "bitwise_or", "bitwise_xor", "invert"}
COUNT = {"clip": 3, "where": 3, "finite": 1, "isneginf": 1, "isposinf": 1}


@pytest.mark.parametrize("name", sorted(families.ELEMENTWISE - {"detach"}))
def test_special_numbers_give_what_the_engine_gives(page, name):
    forward = PRIMITIVES[name].forward if name in PRIMITIVES else getattr(np, name, np.sqrt)
    forward = (lambda x: np.where(np.isfinite(x), x, 0)) if name == "finite" else forward
    numbers = np.arange(-4.0, 5) if name in INTEGERS else SPECIAL
    operands = COUNT.get(name) or getattr(forward, "nin", None) or len(PRIMITIVES[name].operands)
    xs = [x.ravel() for x in np.meshgrid(*[numbers] * operands)]
    with np.errstate(all="ignore"):
        want = forward(*(x.astype(int) for x in xs) if name in INTEGERS else xs)
    text = as_json([[program._value(float(v)) for v in x] for x in xs])
    script = """([name, text]) => {
      const [first, ...others] = JSON.parse(text).map(x => x.map(Number));
      return first.map((a, i) => String(Number(Evaluator.ELEMENTWISE[name](a, ...others.map(x => x[i])))));
    }"""
    got = np.array([float(v.replace("Infinity", "inf")) for v in page.evaluate(script, [name, text])])
    np.testing.assert_allclose(got, np.asarray(want, float), rtol=1e-13)


def test_it_is_a_script_and_small_and_quick(page):
    script = "text => { const module = {}; new Function('module', text)(module); return Object.keys(module.exports); }"
    assert "evaluate" in page.evaluate(script, SCRIPT)
    assert len(SCRIPT.splitlines()) < 200
    _, found, _ = recorded(CASES["batch norm"])
    time = page.evaluate(
        "p => { const start = performance.now(); for (let i = 0; i < 200; i++) Evaluator.evaluate(p);"
        " return (performance.now() - start) / 200 }",
        found,
    )
    assert time < 5  # milliseconds, of a machine that may be busy: 0.2 is usual
